"""A clean-up is run again and again, by one node of all at a time, and the metrics tell of it."""

import asyncio
from collections.abc import Iterator
from itertools import pairwise

import pytest
from redis import Redis

from obscura.errors import StoreUnavailable
from obscura.redis_client.client import RedisClient
from obscura.services.janitor import Janitor, SweepRecord
from obscura.store import keyspace
from obscura.store.last_runs import LastRun
from obscura.store.leases import Lease
from tests.support.inspection import metric, more_calls
from tests.support.redis import RedisServer
from tests.support.waiting import eventually


@pytest.fixture
def redis(own_redis: RedisServer) -> Iterator[Redis]:
    with own_redis.client as client:
        yield client


class Sweeps:
    """Sweeps that last until they are let go, and how many there were and are."""

    def __init__(self) -> None:
        self.begun = self.at_once = self.most_at_once = 0
        self.end = asyncio.Event()

    async def run(self) -> None:
        self.begun += 1
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await self.end.wait()
        finally:
            self.at_once -= 1


@pytest.fixture
def lease(database: RedisClient) -> Lease:
    return Lease(database.scripts, keyspace.ATTACHMENT_JANITOR)


@pytest.fixture
def record(database: RedisClient) -> SweepRecord:
    return SweepRecord("attachments", LastRun(database.commands, keyspace.ATTACHMENT_JANITOR_DONE))


async def test_one_node_of_all_cleans_up_at_a_time(lease: Lease, record: SweepRecord, redis: Redis) -> None:
    """While one is at it the others pass, and afterwards any may be the next."""
    sweeps = Sweeps()
    janitors = [Janitor(lease, sweeps.run, record, 0.01) for _ in range(5)]
    for janitor in janitors:
        janitor.start()
    await eventually(lambda: sweeps.begun)
    await more_calls(redis, "getex", 20)
    assert sweeps.begun == 1
    sweeps.end.set()
    await eventually(lambda: sweeps.begun > 5)
    for janitor in janitors:
        await janitor.stop()
    assert sweeps.most_at_once == 1
    assert not redis.exists(keyspace.ATTACHMENT_JANITOR)


async def test_a_sweep_that_is_stopped_gives_its_lease_back(lease: Lease, record: SweepRecord, redis: Redis) -> None:
    """The next node need not wait for it to run out."""
    sweeps = Sweeps()
    janitor = Janitor(lease, sweeps.run, record, 0.01)
    janitor.start()
    await eventually(lambda: sweeps.begun)
    assert 0 < redis.pttl(keyspace.ATTACHMENT_JANITOR) <= 10_000
    await janitor.stop()
    assert (sweeps.at_once, redis.exists(keyspace.ATTACHMENT_JANITOR)) == (0, 0)


async def test_a_lease_that_is_lost_ends_the_sweep(lease: Lease, record: SweepRecord, redis: Redis) -> None:
    """Somebody else may have begun; its lease is left alone."""
    sweeps = Sweeps()
    janitor = Janitor(lease, sweeps.run, record, 0.01, hold_secs=0.4)
    janitor.start()
    await eventually(lambda: sweeps.begun)
    redis.set(keyspace.ATTACHMENT_JANITOR, "another node's token")
    await eventually(lambda: sweeps.at_once == 0)
    await janitor.stop()
    assert redis.get(keyspace.ATTACHMENT_JANITOR) == "another node's token"


async def test_a_lease_is_renewed_for_as_long_as_a_sweep_takes(lease: Lease, record: SweepRecord, redis: Redis) -> None:
    """A long one is not cut off, and nobody else begins."""
    sweeps = Sweeps()
    janitor = Janitor(lease, sweeps.run, record, 0.01, hold_secs=0.3)
    janitor.start()
    await eventually(lambda: sweeps.begun)
    await more_calls(redis, "pexpire", 6)
    assert (sweeps.begun, sweeps.at_once) == (1, 1)
    await janitor.stop()


async def test_failures_make_the_pauses_longer(lease: Lease, record: SweepRecord) -> None:
    """A sweep that fails every time is tried less and less, up to 8 intervals."""
    loop = asyncio.get_running_loop()
    times: list[float] = []

    async def failing() -> None:
        times.append(loop.time())
        raise StoreUnavailable

    janitor = Janitor(lease, failing, record, 0.02)
    janitor.start()
    await eventually(lambda: len(times) == 6)
    await janitor.stop()
    pauses = [after - before for before, after in pairwise(times)]
    assert pauses[0] >= 0.8 * 2 * 0.02
    assert pauses[-1] >= 0.8 * 8 * 0.02


async def test_the_lease_of_another_is_not_given_back(lease: Lease, redis: Redis) -> None:
    """One that ran out and was taken stays with its new holder."""
    assert await lease.acquire("first", 10_000)
    assert not await lease.acquire("second", 10_000)
    redis.delete(keyspace.ATTACHMENT_JANITOR)
    assert await lease.acquire("second", 10_000)
    await lease.release("first")
    assert redis.get(keyspace.ATTACHMENT_JANITOR) == "second"
    assert not await lease.renew("first", 10_000)


# What the metrics tell of it.


def rounds(outcome: str) -> float:
    return metric("obscura_janitor_sweeps_total", kind="attachments", outcome=outcome)


def age_secs() -> float:
    return metric("obscura_janitor_sweep_age_seconds", kind="attachments")


async def nothing() -> None:
    pass


async def test_every_round_is_counted_by_how_it_ended(lease: Lease, record: SweepRecord, redis: Redis) -> None:
    """Done, passed since another node was at it, failed, cut off as the lease was lost."""

    async def failing() -> None:
        raise StoreUnavailable

    def lose_lease() -> None:
        redis.set(keyspace.ATTACHMENT_JANITOR, "another node's token")

    async def losing() -> None:
        lose_lease()
        await asyncio.Event().wait()

    for outcome, sweep in (("done", nothing), ("failed", failing), ("lease lost", losing), ("elsewhere", nothing)):
        before = rounds(outcome)
        redis.delete(keyspace.ATTACHMENT_JANITOR)
        if outcome == "elsewhere":
            lose_lease()
        janitor = Janitor(lease, sweep, record, 0.01, hold_secs=0.4)
        janitor.start()
        await eventually(lambda outcome=outcome, before=before: rounds(outcome) > before)  # type: ignore[misc]
        await janitor.stop()


async def test_a_node_that_never_cleans_up_hears_that_another_does(
    database: RedisClient, lease: Lease, redis: Redis
) -> None:
    """Its figure is the age of the last sweep of any node, by Redis's clock."""
    done = LastRun(database.commands, keyspace.ATTACHMENT_JANITOR_DONE)
    ahead = [0.0]
    record = SweepRecord("attachments", done, lambda: ahead[0])
    janitor = Janitor(lease, nothing, record, 0.01)
    redis.set(keyspace.ATTACHMENT_JANITOR, "another node's token")
    janitor.start()
    await eventually(lambda: rounds("elsewhere"))
    ahead[0] = 5000.0
    assert age_secs() == 5000  # nobody has ever swept: since this node has been there
    await done.set_now()
    await eventually(lambda: age_secs() < 60)
    await janitor.stop()


async def test_a_restart_does_not_make_the_last_sweep_young(
    database: RedisClient, lease: Lease, record: SweepRecord, redis: Redis
) -> None:
    """A node that comes up hears at once how long nobody has swept, and its own sweep ends that."""
    day_ms = 24 * 3_600_000
    redis.set(keyspace.ATTACHMENT_JANITOR_DONE, "", px=28 * day_ms)
    waiting = Janitor(lease, nothing, record, 3600)
    waiting.start()
    await eventually(lambda: age_secs() > 2 * 86_400 - 1)
    assert metric("obscura_janitor_interval_seconds", kind="attachments") == 3600
    await waiting.stop()
    working = Janitor(lease, nothing, record, 0.01)
    working.start()
    await eventually(lambda: age_secs() < 60)
    await eventually(lambda: redis.pttl(keyspace.ATTACHMENT_JANITOR_DONE) > 29 * day_ms)
    await working.stop()
    assert await LastRun(database.commands, keyspace.ATTACHMENT_JANITOR_DONE).age_ms() is not None
