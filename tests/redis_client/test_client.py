"""All that a node has open towards one Redis. Sentinel and Cluster are in test_sentinel.py and test_cluster.py."""

import asyncio
import signal
from collections.abc import AsyncIterator
from functools import partial

import pytest

from obscura.errors import StartupError
from obscura.redis_client.client import RedisClient, connect_to
from obscura.redis_client.cluster import Cluster
from obscura.redis_client.commands import Standalone
from obscura.redis_client.pubsub import Callbacks
from tests.support.inspection import metric
from tests.support.redis import RedisServer
from tests.support.waiting import eventually


def client_of(url: str) -> RedisClient:
    def probe(number: int | None = None) -> str:
        return f"obscura:test:probe:{number}"

    return RedisClient(url, "obscura:client", 0, probe, Callbacks(lambda *_: None, lambda _: None))


@pytest.fixture
async def client(own_redis: RedisServer) -> AsyncIterator[RedisClient]:
    client = client_of(own_redis.url)
    await client.start({"obscura:test:channel"})
    yield client
    await client.stop()


def connections(redis: RedisServer) -> list[str]:
    """The last command of each connection of the client."""
    with redis.client as client:
        return sorted(row["cmd"] for row in client.client_list() if row["name"] == "obscura:client")


async def test_a_client_runs_commands_and_hears_events(client: RedisClient, own_redis: RedisServer) -> None:
    """Over one connection each, under the name it was given; from its start it hears what it was told to."""
    assert await client.is_alive(1)
    assert await client.is_subscribed()
    assert client.is_connected
    assert len(connections(own_redis)) == 2
    with own_redis.client as redis:
        assert redis.publish("obscura:test:channel", "x") == 1
        assert redis.publish("obscura:test:probe:None", "x") == 1
    await client.stop()
    await eventually(lambda: not connections(own_redis))


async def test_a_redis_that_hangs_is_not_alive(client: RedisClient, own_redis: RedisServer) -> None:
    """That is found out in the time given."""
    assert own_redis.process is not None
    own_redis.process.send_signal(signal.SIGSTOP)
    try:
        async with asyncio.timeout(1):
            assert not await client.is_alive(0.05)
    finally:
        own_redis.process.send_signal(signal.SIGCONT)


async def test_the_metrics_tell_whether_it_is_connected(client: RedisClient, own_redis: RedisServer) -> None:
    """And for how long it has heard nothing."""
    assert metric("obscura_redis_connected") == 1
    assert metric("obscura_events_silence_seconds") < 10
    own_redis.kill()
    await eventually(lambda: metric("obscura_redis_connected") == 0)
    assert not await client.is_alive(1)
    await eventually(partial(is_deaf, client))


async def is_deaf(client: RedisClient) -> bool:
    return not await client.is_subscribed()


async def test_a_start_without_redis_is_told_and_leaves_nothing_behind(own_redis: RedisServer) -> None:
    """In a sentence for an operator."""
    before = asyncio.all_tasks()
    own_redis.kill()
    client = client_of(own_redis.url)
    with pytest.raises(StartupError, match="Redis is not available: cannot connect to Redis: Error"):
        await client.start(())
    await client.stop()
    assert asyncio.all_tasks() == before


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("redis://h", Standalone),
        ("unix:///s", Standalone),
        ("rediss+sentinel://h1,h2/name", Standalone),
        ("redis+cluster://h1,h2", Cluster),
    ],
)
async def test_the_url_says_what_kind_of_redis_that_is(url: str, kind: type) -> None:
    """Nothing is connected yet."""
    assert isinstance(connect_to(url, "obscura:client"), kind)
