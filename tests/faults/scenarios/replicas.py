"""Masters that are replaced by their replicas, under Sentinel and in a Cluster alike, and replicas that hang."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from tests.faults import checker
from tests.faults.history import History
from tests.faults.report import Findings
from tests.faults.testbed import Testbed
from tests.support.waiting import eventually

Run = Callable[[Testbed, int, Findings], Awaitable[None]]

DELIVERY_SECS = 5.0
REFUSAL_SECS = 2.0
WHOLE_SECS = 60.0
_AFTERWARDS_SECS = 2.5  # under load: those who were told to wait a second come again
_SLACK_SECS = 1.0  # for a machine that does other things too
_ACKS_SECS = 0.6  # acks are written in half a second and wait for no replica, so a failover may undo the last


@dataclass(frozen=True)
class Failover:
    """How a master is replaced.

    Attributes:
        run: Does it, and returns the moment from which messages can be stored and copied again.
        is_lossless: Whether nothing that was answered may be lost; else it is counted.
    """

    run: Callable[[], Awaitable[float]]
    is_lossless: bool = True


async def fail_over(testbed: Testbed, times: int, found: Findings, failover: Failover) -> None:
    """Under load, while messages are sent and acked, keys popped and tokens refreshed; sockets stay open all along."""
    group = testbed.sentinel or testbed.cluster
    assert group is not None
    for _ in range(times):
        await eventually(group.is_whole, WHOLE_SECS)
        with testbed.crowd.staying():
            async with testbed.crowd.round() as history:
                async with testbed.crowd.at_work():
                    await asyncio.sleep(testbed.random.uniform(0.5, 2))
                    began = testbed.now
                    back = await failover.run()
                    await testbed.are_ready()
                    await asyncio.sleep(_AFTERWARDS_SECS)
                    history.outages.append((began, testbed.now))
                    history.undone.append((began - _ACKS_SECS, testbed.now))
                # What is lost never comes; that the rest does not need a reconnect is seen from the times.
                if failover.is_lossless:
                    found.expect(await testbed.crowd.all_is_seen(DELIVERY_SECS), "a message waited for a reconnect")
        found.worst("s without a master", back - began)
        judge(testbed, history, back, found, is_lossless=failover.is_lossless)


def judge(testbed: Testbed, history: History, back: float, found: Findings, *, is_lossless: bool) -> None:
    """Nothing lost or all of it counted; sockets open; stored and delivered in time from the moment `back`."""
    if is_lossless:
        found.read(history)
    else:
        found.count_losses(history)
    recovery = checker.slowest_recovery(history, back, [node.name for node in testbed.nodes])
    found.at_most("s until all nodes store again", recovery, DELIVERY_SECS)
    found.at_most("s that a message waited", checker.longest_wait(history, back), DELIVERY_SECS)
    if is_lossless:  # a session that is lost takes its sockets along
        found.faults += checker.cut(history)
    found.faults += checker.slow_refusals(history, REFUSAL_SECS + _SLACK_SECS)
    found.repetitions += 1


async def in_sync(testbed: Testbed, times: int, found: Findings, *, when: str, run: Run) -> None:
    """Another scenario, with append-only files that are synced ``when`` it says: always, or everysec."""
    group = testbed.sentinel
    assert group is not None
    await asyncio.to_thread(group.sync, when)
    try:
        await run(testbed, times, found)
    finally:
        await asyncio.to_thread(group.sync, "always")


async def master_restarted(testbed: Testbed, times: int, found: Findings, *, is_lossless: bool) -> None:
    """kill -9 of the master, which is back before a Sentinel takes note: its replicas copy what its file has."""
    group = testbed.sentinel
    assert group is not None

    async def run() -> float:
        master = group.master
        master.kill()
        await master.start()
        await eventually(lambda: group.copies > 0, WHOLE_SECS)
        return testbed.now

    await fail_over(testbed, times, found, Failover(run, is_lossless))


async def replica_hung(testbed: Testbed, times: int, found: Findings) -> None:
    """SIGSTOP of one replica of two, one is waited for: no request fails. Then the master dies beside it: 0 lost."""
    group = testbed.sentinel
    assert group is not None
    random = testbed.random

    async def run() -> float:
        """The master dies while one replica hangs, which comes to itself around the time of the promotion."""
        master = group.master
        hung, _ = random.sample([server for server in group.servers if server is not master], 2)
        hung.pause()
        try:
            await asyncio.sleep(random.uniform(0.1, 2))
            master.kill()
            await asyncio.sleep(random.uniform(0, 2))
        finally:
            hung.resume()
        await eventually(lambda: group.has_replaced(master), WHOLE_SECS)
        promoted = testbed.now
        await group.restart(master)
        return promoted

    for _ in range(times):
        await eventually(group.is_whole, WHOLE_SECS)
        async with testbed.crowd.round() as history, testbed.crowd.at_work():
            master = group.master
            hung = random.choice([server for server in group.servers if server is not master])
            hung.pause()
            try:
                await asyncio.sleep(random.uniform(1, 4))
            finally:
                hung.resume()
            await asyncio.sleep(0.5)
        found.read(history)
        found.faults += checker.failed(history)
        await fail_over(testbed, 1, found, Failover(run))
