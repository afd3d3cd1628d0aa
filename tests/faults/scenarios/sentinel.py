"""Failovers by Sentinel, and networks that part a master, its Sentinels and its nodes."""

import asyncio
from functools import partial

from tests.faults import checker
from tests.faults.report import Findings
from tests.faults.scenarios.redis import Hurt, endure
from tests.faults.scenarios.replicas import WHOLE_SECS, Failover, fail_over
from tests.faults.testbed import MAJORITY, MINORITY, Testbed
from tests.faults.watch import watching
from tests.support.redis7 import SentinelRedis
from tests.support.waiting import eventually

_SENTINELS, _REPLICAS = b"sentinel-", b"REPLCONF"  # what their connections say of themselves
_PAUSE_MS = 15_000  # until the Sentinels have made a replica of the old master


async def masters_killed(testbed: Testbed, times: int, found: Findings, *, replicas: int = 1) -> None:
    """kill -9 of the master: nothing is lost that a replica was waited for, and all flows again in 5 s."""
    await _waiting_for(replicas, testbed, times, found, Failover(partial(_kill, testbed), is_lossless=replicas > 0))


async def masters_replaced(testbed: Testbed, times: int, found: Findings, *, replicas: int) -> None:
    """SENTINEL FAILOVER while the master lives and stores on: nothing is lost if all replicas were waited for."""
    run = partial(_replace, testbed, needed=replicas)
    await _waiting_for(replicas, testbed, times, found, Failover(run, is_lossless=replicas == 2))


async def masters_replaced_at_rest(testbed: Testbed, times: int, found: Findings) -> None:
    """The same after CLIENT PAUSE at the master, as the guide for operators says: one replica is enough."""
    await fail_over(testbed, times, found, Failover(partial(_replace, testbed, is_at_rest=True)))


async def _waiting_for(replicas: int, testbed: Testbed, times: int, found: Findings, failover: Failover) -> None:
    if replicas == 1:
        await fail_over(testbed, times, found, failover)
        return
    async with testbed.with_settings(redis_wait_replicas=replicas):
        await fail_over(testbed, times, found, failover)


def _redis(testbed: Testbed) -> SentinelRedis:
    assert testbed.sentinel is not None
    return testbed.sentinel


async def _kill(testbed: Testbed) -> float:
    redis = _redis(testbed)
    master = redis.master
    master.kill()
    await eventually(lambda: redis.has_replaced(master), WHOLE_SECS)
    promoted = testbed.now
    await redis.restart(master)
    return promoted


async def _replace(testbed: Testbed, needed: int = 1, *, is_at_rest: bool = False) -> float:
    redis = _redis(testbed)
    master = redis.master
    await redis.fail_over(master, pause_ms=_PAUSE_MS if is_at_rest else 0)
    # The old master is made a replica some ten seconds later.
    await eventually(lambda: redis.copies >= needed, WHOLE_SECS)
    return testbed.now


async def master_isolated(testbed: Testbed, times: int, found: Findings, *, replicas: int = 1) -> None:
    """The master and one node are cut off from all others, which get another master, and then the cut heals."""
    await _waiting_for(replicas, testbed, times, found, Failover(partial(_isolate, testbed), is_lossless=replicas > 0))


async def _isolate(testbed: Testbed) -> float:
    redis = _redis(testbed)
    master = redis.master
    before_master = testbed.server_proxies[master.port]
    try:
        for words in (_SENTINELS, _REPLICAS, MAJORITY.encode()):
            before_master.cut_off(words)
        for proxy in testbed.sentinel_proxies:
            proxy.cut_off()
        await eventually(lambda: redis.has_replaced(master), WHOLE_SECS)
        await asyncio.sleep(testbed.random.uniform(0.5, 5))
    finally:
        for proxy in [before_master, *testbed.sentinel_proxies]:
            proxy.heal()
    return testbed.now


async def node_cut_off_from_the_master(testbed: Testbed, times: int, found: Findings, length_secs: float) -> None:
    """One node alone reaches the Sentinels and not the master: it says so, and the others go on."""
    for _ in range(times):
        await eventually(_redis(testbed).is_whole, WHOLE_SECS)
        proxy = testbed.server_proxies[_redis(testbed).master.port]
        hurt = Hurt(partial(proxy.cut_off, MINORITY.encode()), proxy.heal, testbed.nodes[-1:], length_secs)
        await endure(testbed, hurt, found)


async def node_cut_off_from_sentinels(testbed: Testbed, times: int, found: Findings, length_secs: float) -> None:
    """One node reaches the master and no Sentinel: nothing fails, and it stays ready."""
    for _ in range(times):
        await eventually(_redis(testbed).is_whole, WHOLE_SECS)
        with testbed.crowd.staying():
            async with (
                testbed.crowd.round() as history,
                testbed.crowd.at_work(),
                watching(testbed.nodes[-1]) as readiness,
            ):
                try:
                    for proxy in testbed.sentinel_proxies:
                        proxy.cut_off()
                    await asyncio.sleep(length_secs)
                finally:
                    for proxy in testbed.sentinel_proxies:
                        proxy.heal()
                await asyncio.sleep(1)
        found.read(history)
        found.faults += [*checker.failed(history), *checker.cut(history)]
        found.expect({status for _, _, status in readiness.answers} == {200}, "the node was not ready all along")
        found.repetitions += 1
