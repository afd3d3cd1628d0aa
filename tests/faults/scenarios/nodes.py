"""Nodes that die, and nodes that are replaced."""

import asyncio

from tests.faults import checker
from tests.faults.account import Endpoint
from tests.faults.nodes import haproxy
from tests.faults.report import Findings
from tests.faults.testbed import Testbed

RETURN_SECS = 2.0
_BALANCER_NOTICES_SECS = 2.5  # its checks are a second apart


async def nodes_killed(testbed: Testbed, times: int, found: Findings) -> None:
    """kill -9 of one node of three, again and again: nothing is lost, and who lost a socket has another in 2 s."""
    random = testbed.random
    async with testbed.crowd.round() as history, testbed.crowd.at_work():
        for _ in range(times):
            await asyncio.sleep(random.uniform(0.3, 2))
            node = random.choice(testbed.nodes)
            await node.kill()
            await asyncio.sleep(random.uniform(0, 1))
            await node.start()
            found.repetitions += 1
        await asyncio.sleep(0.5)
    found.read(history)
    found.at_most("s to have a socket again", checker.slowest_return(history), RETURN_SECS)


async def nodes_replaced(testbed: Testbed, times: int, found: Findings) -> None:
    """SIGTERM of all nodes, one after the other, behind haproxy: nothing is lost, and no request fails."""
    async with haproxy(testbed.folder, testbed.nodes) as port:
        endpoints = testbed.crowd.environment.endpoints
        testbed.crowd.move_to([Endpoint("haproxy", port)])
        try:
            async with testbed.crowd.round() as history, testbed.crowd.at_work():
                for _ in range(times):
                    await _replace_all(testbed, found)
                await asyncio.sleep(0.5)
        finally:
            testbed.crowd.move_to(endpoints)
    found.read(history)
    found.faults += checker.failed(history)
    found.at_most("s to have a socket again", checker.slowest_return(history), RETURN_SECS)


async def _replace_all(testbed: Testbed, found: Findings) -> None:
    for node in testbed.nodes:
        began = testbed.now
        code = await node.terminate()
        found.worst("s to stop", testbed.now - began)
        found.expect(code == 0, f"{node.name} ended with {code}")
        await node.start()
        found.repetitions += 1
        await asyncio.sleep(_BALANCER_NOTICES_SECS)
