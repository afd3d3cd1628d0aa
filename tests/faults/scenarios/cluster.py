"""Masters of a Cluster that die or step down, and slots that move, under load."""

import asyncio
from functools import partial

from tests.faults import checker
from tests.faults.report import Findings
from tests.faults.scenarios.replicas import DELIVERY_SECS, WHOLE_SECS, Failover, fail_over
from tests.faults.testbed import Testbed
from tests.support.groups import id_of, owner_of
from tests.support.redis7 import ClusterRedis, RedisProcess
from tests.support.waiting import eventually

_SLOTS_MOVED = 1000


async def masters_killed(testbed: Testbed, times: int, found: Findings) -> None:
    """kill -9 of a master, whose replica was waited for: nothing is lost, and all flows again in 5 s."""
    await fail_over(testbed, times, found, Failover(partial(_kill, testbed)))


async def masters_killed_unwaited(testbed: Testbed, times: int, found: Findings) -> None:
    """The same without waiting: what is lost is counted."""
    async with testbed.with_settings(redis_wait_replicas=0):
        await fail_over(testbed, times, found, Failover(partial(_kill, testbed), is_lossless=False))


async def masters_replaced(testbed: Testbed, times: int, found: Findings) -> None:
    """CLUSTER FAILOVER at a replica, for which its master holds still: nothing is lost."""
    await fail_over(testbed, times, found, Failover(partial(_replace, testbed)))


async def masters_replaced_unwaited(testbed: Testbed, times: int, found: Findings) -> None:
    """The same without waiting: nothing is lost either."""
    async with testbed.with_settings(redis_wait_replicas=0):
        await masters_replaced(testbed, times, found)


def _redis(testbed: Testbed) -> ClusterRedis:
    assert testbed.cluster is not None
    return testbed.cluster


async def _kill(testbed: Testbed) -> float:
    redis = _redis(testbed)
    master = testbed.random.choice(redis.masters)
    master.kill()
    await eventually(lambda: _is_replaced(redis, master), WHOLE_SECS)
    await master.start()
    # It was waited for the only replica, so nothing is stored before there is one again.
    await eventually(redis.is_whole, WHOLE_SECS)
    return testbed.now


async def _replace(testbed: Testbed) -> float:
    redis = _redis(testbed)
    await redis.promote(testbed.random.choice(redis.replicas))
    await eventually(redis.is_whole, WHOLE_SECS)
    return testbed.now


def _is_replaced(redis: ClusterRedis, killed: RedisProcess) -> bool:
    masters = redis.masters
    return killed not in masters and len(masters) == len(redis.servers) / 2


async def slots_moved(testbed: Testbed, times: int, found: Findings) -> None:
    """``redis-cli --cluster reshard`` of slots with inboxes in use: no request fails, and every socket hears on."""
    redis = _redis(testbed)
    for _ in range(times):
        await eventually(redis.is_whole, WHOLE_SECS)
        with testbed.crowd.staying():
            async with testbed.crowd.round() as history:
                async with testbed.crowd.at_work():
                    await asyncio.sleep(testbed.random.uniform(0.3, 1))
                    before = await asyncio.to_thread(_owners, testbed)
                    source, target = testbed.random.sample(redis.masters, 2)
                    await redis.cli(
                        *("reshard", f"127.0.0.1:{source.port}"),
                        *("--cluster-from", id_of(source), "--cluster-to", id_of(target)),
                        *("--cluster-slots", str(_SLOTS_MOVED)),
                    )
                    moved = testbed.now
                    after = await asyncio.to_thread(_owners, testbed)
                    await asyncio.sleep(1)
                found.expect(await testbed.crowd.all_is_seen(DELIVERY_SECS), "a socket is stuck")
        found.read(history)
        found.faults += [*checker.failed(history), *checker.cut(history)]
        found.at_most("s that a message waited", checker.longest_wait(history, moved), DELIVERY_SECS)
        found.counts["inboxes moved"] += sum(before[name] is not after[name] for name in before)
        found.repetitions += 1


def _owners(testbed: Testbed) -> dict[str, RedisProcess]:
    """Where each person's inbox is."""
    return {person.id: owner_of(_redis(testbed), f"obscura:{{{person.id}}}:inbox") for person in testbed.crowd.people}
