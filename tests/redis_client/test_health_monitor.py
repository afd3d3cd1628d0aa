"""The clock and the memory of a Redis, as the metrics of a node tell them."""

import time
from collections.abc import AsyncIterator

import pytest

from obscura.redis_client.connection import CommandConnection
from obscura.redis_client.endpoints import StaticEndpoint
from obscura.redis_client.health_monitor import RedisHealthMonitor, memory_used
from tests.support.inspection import metric
from tests.support.outages import killed
from tests.support.redis import RedisServer
from tests.support.waiting import eventually

PERIOD_SECS = 0.02


@pytest.fixture
async def connection(own_redis: RedisServer) -> AsyncIterator[CommandConnection]:
    connection = CommandConnection(StaticEndpoint(own_redis.url, "obscura:test"))
    await connection.start()
    yield connection
    await connection.stop()


def skew_secs() -> float:
    return metric("obscura_redis_clock_skew_seconds")


def used() -> float:
    return metric("obscura_redis_memory_used_ratio")


@pytest.mark.parametrize("wrong_by_secs", [-3600.0, 0.0, 3600.0])
async def test_clocks_that_differ_are_noticed(connection: CommandConnection, wrong_by_secs: float) -> None:
    """By how much, whichever is ahead; and when they agree again, that too."""
    off = [7200.0]
    monitor = RedisHealthMonitor(lambda: [connection], PERIOD_SECS, lambda: time.time() + off[0])
    await monitor.start()
    await eventually(lambda: 7000 < skew_secs() <= 7200)
    off[0] = wrong_by_secs
    await eventually(lambda: abs(wrong_by_secs) - 100 < skew_secs() <= abs(wrong_by_secs))
    await monitor.stop()


async def test_a_slow_reply_is_no_difference_of_clocks(connection: CommandConnection) -> None:
    """Between sending and hearing ten seconds go by: Redis may have looked at its clock at any of them."""
    asked: list[float] = []

    def now() -> float:
        asked.append(time.time() + (5 if len(asked) % 2 else -5))
        return asked[-1]

    monitor = RedisHealthMonitor(lambda: [connection], PERIOD_SECS, now)
    await monitor.start()
    await eventually(lambda: len(asked) > 20)
    assert skew_secs() == 0
    await monitor.stop()


async def test_the_memory_in_use_is_a_share_of_the_maximum(
    connection: CommandConnection, own_redis: RedisServer
) -> None:
    """And changes with it."""
    monitor = RedisHealthMonitor(lambda: [connection], PERIOD_SECS)
    await monitor.start()
    for share in (0.25, 0.75):
        with own_redis.client as client:
            client.config_set("maxmemory", int(client.info("memory")["used_memory"] / share))
        await eventually(lambda share=share: abs(used() - share) < 0.2)  # type: ignore[misc]
    await monitor.stop()


async def test_an_outage_changes_nothing(connection: CommandConnection, own_redis: RedisServer) -> None:
    """What was seen last stands, and the looking goes on when Redis is back."""
    monitor = RedisHealthMonitor(lambda: [connection], PERIOD_SECS, lambda: time.time() + 100)
    await monitor.start()
    await eventually(lambda: 50 < skew_secs() <= 100)
    with killed(own_redis):
        await eventually(lambda: not connection.is_connected)
        assert 50 < skew_secs() <= 100
    with own_redis.client as client:
        client.config_set("maxmemory", 10**6)
    await eventually(lambda: used() > 0.5)
    await monitor.stop()


@pytest.mark.parametrize(
    ("info", "share"),
    [
        ({"used_memory": "30", "maxmemory": "40", "total_system_memory": "1000"}, 0.75),
        ({"used_memory": "30", "maxmemory": "0", "total_system_memory": "60"}, 0.5),
        ({"used_memory": "30", "maxmemory": "0"}, 0),
        ({}, 0),
    ],
)
def test_without_a_maximum_the_machine_is_one(info: dict[str, str], share: float) -> None:
    """A Redis that tells neither is taken to have room."""
    assert memory_used(info) == share
