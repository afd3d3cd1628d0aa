"""The events of a Cluster: every channel where it is published, though its slot moves.

Masters that die are in test_cluster.py: they take commands and events along.
"""

from collections.abc import Iterator
from uuid import uuid4

import pytest

from obscura.redis_client.cluster_subscriber import ClusterSubscriber
from tests.support.groups import Migration, listening, started
from tests.support.inspection import metric
from tests.support.redis7 import ClusterRedis
from tests.support.waiting import eventually

pytestmark = pytest.mark.groups


@pytest.fixture(scope="module")
def redis_cluster() -> Iterator[ClusterRedis]:
    with started(ClusterRedis()) as cluster:
        yield cluster


def channel() -> str:
    return f"test:{{{uuid4()}}}:events"


async def test_what_is_published_is_heard_from_every_master(redis_cluster: ClusterRedis) -> None:
    """In order for each channel; nothing of a channel that was given up."""
    channels = [channel() for _ in range(60)]
    async with listening(redis_cluster.url, *channels) as recorder:
        recorder.events.unsubscribe(channels[0])
        for number in range(5):
            for name in channels:
                await recorder.publish(name, str(number))
        await eventually(lambda: len(recorder.heard) >= 5 * 59)
        assert [payload for name, payload in recorder.heard if name == channels[7]] == [b"0", b"1", b"2", b"3", b"4"]
        assert channels[0] not in {name for name, _ in recorder.heard}
        assert recorder.gaps == []


async def test_one_silent_master_is_a_silence(redis_cluster: ClusterRedis) -> None:
    """The figure is that of the master that was not heard for the longest, whatever the others say."""
    async with listening(redis_cluster.url, channel()) as recorder:
        assert isinstance(recorder.events, ClusterSubscriber)
        assert metric("obscura_events_silence_seconds") < 60
        silent, *others = recorder.events._subscribers.values()
        assert len(others) == 2
        silent._heard_at -= 100
        assert metric("obscura_events_silence_seconds") > 99


async def test_a_subscription_follows_its_slot(redis_cluster: ClusterRedis) -> None:
    """The server drops it; it is made again at the new owner, and the gap names it alone."""
    mine, others = channel(), [channel() for _ in range(20)]
    async with listening(redis_cluster.url, mine, *others) as recorder:
        migration = Migration(redis_cluster, mine)
        migration.begin()
        await eventually(lambda: recorder.hears(mine))
        migration.end()
        await eventually(lambda: any(mine in gap for gap in recorder.gaps))
        assert await recorder.hears(mine)
        assert set().union(*recorder.gaps) == {mine}
        await eventually(lambda: recorder.events.is_healthy)
        recorder.events.unsubscribe(mine)
        await eventually(lambda: not listeners(redis_cluster, mine))


def listeners(cluster: ClusterRedis, name: str) -> int:
    """How many subscriptions of a channel there are, over all masters."""
    count = 0
    for master in cluster.masters:
        with master.client() as client:
            count += client.execute_command("PUBSUB", "SHARDNUMSUB", name)[1]
    return count


async def test_sockets_come_and_go_while_slots_move(redis_cluster: ClusterRedis) -> None:
    """What a caller holds in the end is subscribed once, what it gave up nowhere."""
    async with listening(redis_cluster.url) as recorder:
        mine = channel()
        for turn in range(6):
            await recorder.events.subscribe(mine)
            migration = Migration(redis_cluster, mine)
            migration.begin()
            migration.end()
            recorder.events.unsubscribe(mine)  # at the server that is dropping it at this moment
            if turn % 2:
                await recorder.events.subscribe(mine)
                await eventually(lambda: recorder.hears(mine))
                recorder.events.unsubscribe(mine)
            await eventually(lambda: not listeners(redis_cluster, mine))
        await eventually(recorder.is_well)


async def test_the_probe_moves_on_when_its_slot_does(redis_cluster: ClusterRedis) -> None:
    """The server drops the probe's channel: the node takes another one of that master, and is well again."""
    async with listening(redis_cluster.url, channel()) as recorder:
        with redis_cluster.masters[0].client() as client:
            (probe,) = client.execute_command("PUBSUB", "SHARDCHANNELS", "obscura:node:recorder:probe:*")
        migration = Migration(redis_cluster, probe)
        migration.begin()
        migration.end()
        await eventually(lambda: not listeners(redis_cluster, probe))
        await eventually(recorder.is_well)
