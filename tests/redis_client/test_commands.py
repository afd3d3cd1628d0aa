"""One server: which of its connections a command takes. Copies are tested in test_replication.py."""

import asyncio
from collections.abc import Callable

import pytest

from obscura.errors import StoreUnavailable
from obscura.redis_client.commands import Standalone
from obscura.redis_client.endpoints import StaticEndpoint
from tests.support.redis import RedisServer
from tests.support.waiting import eventually


def connections(redis: RedisServer) -> int:
    with redis.client as client:
        return sum(row["name"] == "obscura:commands" for row in client.client_list())


@pytest.mark.parametrize(("replicas", "expected"), [(0, 1), (1, 2)])
async def test_writes_that_wait_for_copies_have_a_connection_of_their_own(
    redis_server: RedisServer, replicas: int, expected: int
) -> None:
    """WAIT holds up what comes behind it; without copies to wait for there is one connection for all."""
    commands = Standalone(StaticEndpoint(redis_server.url, "obscura:commands"), replicas)
    await commands.start()
    assert connections(redis_server) == expected
    assert commands.publish == "PUBLISH"
    assert list(commands.masters) == [commands.connection]
    if not replicas:
        assert await commands.call_replicated("PING") == b"PONG"
    await commands.stop()
    await eventually(lambda: connections(redis_server) == 0)


async def test_a_start_in_the_background_connects_when_it_can(own_redis: RedisServer) -> None:
    """It raises nothing; calls fail until then."""
    own_redis.kill()
    commands = Standalone(StaticEndpoint(own_redis.url, "obscura:commands"), replicas=1)
    commands.start_in_background()
    with pytest.raises(StoreUnavailable):
        await commands.call("PING")
    own_redis.start()
    await eventually(lambda: commands.connection.is_connected)
    assert await commands.call("PING") == b"PONG"
    await commands.stop()


@pytest.mark.parametrize("call", [lambda commands: commands.call, lambda commands: commands.call_replicated])
async def test_a_call_after_the_stop_is_unavailable(
    redis_server: RedisServer, call: Callable[[Standalone], Callable[..., object]]
) -> None:
    """At once, without a hang."""
    commands = Standalone(StaticEndpoint(redis_server.url, "obscura:commands"), replicas=1)
    await commands.start()
    await commands.stop()
    async with asyncio.timeout(2):
        with pytest.raises(StoreUnavailable):
            await call(commands)("SET", "obscura:test", "x")  # type: ignore[misc]
