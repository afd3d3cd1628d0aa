"""A Redis that dies, hangs, or cannot be reached."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass

from obscura.redis_client.subscriber import PROBE_PERIOD_SECS
from tests.faults import checker
from tests.faults.history import History
from tests.faults.nodes import ServedNode
from tests.faults.report import Findings
from tests.faults.testbed import Testbed
from tests.faults.watch import watching
from tests.support.waiting import eventually

RECOVERY_SECS = 5.0
REFUSAL_SECS = 2.0
NOTICE_SECS = 2 * PROBE_PERIOD_SECS
WAIT_SECS = 10.0
_SLACK_SECS = 1.0  # for a machine that does other things too
_QUIET_SECS = 1.0
_SUBSCRIBER = b"SUBSCRIBE"


async def redis_killed(testbed: Testbed, times: int, found: Findings) -> None:
    """kill -9 of Redis, which syncs each write: nothing is lost, requests meanwhile are refused, all is well in 5 s."""
    found.read(await _kill_redis(testbed, times, found))


async def redis_killed_everysec(testbed: Testbed, times: int, found: Findings) -> None:
    """The same with a sync every second: what is lost is counted, and nothing else goes wrong."""
    assert testbed.redis is not None
    testbed.redis.sync("everysec")
    try:
        history = await _kill_redis(testbed, times, found)
    finally:
        testbed.redis.sync("always")
    found.count_losses(history)


async def _kill_redis(testbed: Testbed, times: int, found: Findings) -> History:
    random, redis = testbed.random, testbed.redis
    assert redis is not None
    async with testbed.crowd.round() as history, testbed.crowd.at_work():
        for _ in range(times):
            await asyncio.sleep(random.uniform(0.5, 2))
            killed = testbed.now
            redis.kill()
            await asyncio.sleep(random.uniform(0, 3))
            starting = testbed.now
            await redis.start()
            back = testbed.now
            await testbed.are_ready()
            await asyncio.sleep(2.0)  # those who were told to wait a second come again
            history.outages.append((killed, testbed.now))
            names = [node.name for node in testbed.nodes]
            recovery = checker.slowest_recovery(history, back, names)
            found.at_most("s until all nodes store again", recovery, RECOVERY_SECS)
            found.faults += checker.accepted_between(history, killed, starting)
            found.repetitions += 1
    found.faults += checker.slow_refusals(history, REFUSAL_SECS + _SLACK_SECS)
    found.faults += checker.cut(history)
    return history


async def subscribers_killed(testbed: Testbed, times: int, found: Findings) -> None:
    """CLIENT KILL TYPE pubsub: every node notices, and reads what it did not hear."""
    assert testbed.redis is not None
    for _ in range(times):
        with testbed.crowd.staying():
            async with testbed.crowd.round() as history:
                async with testbed.crowd.at_work():
                    await asyncio.sleep(testbed.random.uniform(0.5, 1.5))
                    gaps = [await node.metric("obscura_events_gaps_total") for node in testbed.nodes]
                    with testbed.redis.client() as client:
                        killed = testbed.now
                        client.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
                # No message comes any more that would bring to light what was missed.
                for node, before in zip(testbed.nodes, gaps, strict=True):
                    await eventually(lambda n=node, b=before: _has_resumed(n, b))
                found.at_most("s to listen again", testbed.now - killed, NOTICE_SECS + _SLACK_SECS)
                await _must_be_seen(testbed, found)
        _read(history, killed, found)


async def _has_resumed(node: ServedNode, gaps_before: float) -> bool:
    return await node.metric("obscura_events_gaps_total") > gaps_before and await node.is_ready()


async def subscriber_cut_off(testbed: Testbed, times: int, found: Findings, length_secs: float) -> None:
    """Nothing passes on one node's events connection, while its commands go through: it says that it is deaf."""
    proxy = testbed.proxy
    assert proxy is not None
    hurt = Hurt(lambda: proxy.cut_off(_SUBSCRIBER), proxy.heal, testbed.nodes[-1:], length_secs)
    for _ in range(times):
        await endure(testbed, hurt, found)


async def node_cut_off(testbed: Testbed, times: int, found: Findings, length_secs: float) -> None:
    """Nothing passes between one node and Redis; the others go on."""
    proxy = testbed.proxy
    assert proxy is not None
    hurt = Hurt(proxy.cut_off, proxy.heal, testbed.nodes[-1:], length_secs)
    for _ in range(times):
        await endure(testbed, hurt, found)


async def redis_stopped(testbed: Testbed, times: int, found: Findings, length_secs: float) -> None:
    """SIGSTOP of Redis: no node is ready, and everything flows again afterwards."""
    redis = testbed.redis
    assert redis is not None
    hurt = Hurt(redis.pause, redis.resume, testbed.nodes, length_secs)
    for _ in range(times):
        history = await endure(testbed, hurt, found)
        found.faults += checker.slow_refusals(history, REFUSAL_SECS + _SLACK_SECS)


@dataclass(frozen=True)
class Hurt:
    """A fault that lasts, and the nodes that are to notice."""

    begin: Callable[[], None]
    end: Callable[[], None]
    nodes: Sequence[ServedNode]
    length_secs: float


async def endure(testbed: Testbed, hurt: Hurt, found: Findings) -> History:
    """The fault once: its nodes notice and say so to its end, no socket is cut, and nothing is lost or waits long."""
    with testbed.crowd.staying():
        async with testbed.crowd.round() as history, AsyncExitStack() as stack:
            watched = [await stack.enter_async_context(watching(node)) for node in hurt.nodes]
            began, ended = await _hurt(testbed, hurt)
            await testbed.are_ready()
            history.outages.append((began, testbed.now))
            await _must_be_seen(testbed, found)
    for readiness in watched:
        found.at_most("s to notice", readiness.noticed_after(began), NOTICE_SECS + _SLACK_SECS)
        found.expect(readiness.is_unready_until(began, ended), "a node was ready while it was cut off")
    found.faults += checker.cut(history)
    _read(history, ended, found)
    return history


async def _hurt(testbed: Testbed, hurt: Hurt) -> tuple[float, float]:
    """The fault under load, which ends before the fault does: so no later message brings to light what was missed.

    Where nothing can be stored before its end, the load ends with the last messages that wait for it.
    """
    loop = asyncio.get_running_loop()
    async with testbed.crowd.at_work():
        await asyncio.sleep(testbed.random.uniform(0.3, 1.5))
        began = testbed.now
        hurt.begin()
        healed = loop.call_at(began + hurt.length_secs, hurt.end)
        try:
            await asyncio.sleep(hurt.length_secs - _QUIET_SECS)
        except BaseException:
            healed.cancel()
            hurt.end()
            raise
    ended = began + hurt.length_secs
    await asyncio.sleep(max(0, ended + _SLACK_SECS - testbed.now))
    return began, ended


async def _must_be_seen(testbed: Testbed, found: Findings) -> None:
    found.expect(await testbed.crowd.all_is_seen(WAIT_SECS), f"messages still waited {WAIT_SECS:g} s after the end")


def _read(history: History, ended: float, found: Findings) -> None:
    found.read(history)
    found.at_most("s that a message waited", checker.longest_wait(history, ended), WAIT_SECS)
    found.repetitions += 1
