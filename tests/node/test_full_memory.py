"""Redis at maxmemory: what would make it grow is refused, and whatever makes room or ends a session still works."""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

import pytest
from redis import Redis

from obscura.client.device_keys import Device, one_time_keys
from obscura.node.node import Node
from obscura.store import keyspace
from tests.conftest import StartNode
from tests.support.client import Answer, Api, User
from tests.support.inbox import contents_of, fill_with_past
from tests.support.logins import access_token_works, refreshed
from tests.support.outages import is_refusal
from tests.support.redis import RedisServer
from tests.support.waiting import eventually

TTL_DAYS = 0.5
TTL_MS = 12 * 3_600_000

StartPair = Callable[..., Awaitable[tuple[User, User]]]


@pytest.fixture
def redis(own_redis: RedisServer) -> Iterator[Redis]:
    with Redis(unix_socket_path=str(own_redis.path)) as client:
        yield client


@pytest.fixture
def start_pair(start_node: StartNode, connect_api: Callable[[Node], Api], own_redis: RedisServer) -> StartPair:
    """Starts a node on a Redis of the test's own; two users."""

    async def start(**settings: float) -> tuple[User, User]:
        api = connect_api(await start_node(redis_url=own_redis.url, ttl_days=TTL_DAYS, **settings))
        return await api.register(), await api.register()

    return start


@contextmanager
def full(redis: Redis) -> Iterator[None]:
    redis.config_set("maxmemory", 1)
    yield
    redis.config_set("maxmemory", 0)


async def upload(user: User) -> Answer:
    return await user.api.call("POST", "/v1/attachments", token=user.token, data=b"bytes")


async def test_what_makes_redis_grow_is_refused_until_there_is_room(start_pair: StartPair, redis: Redis) -> None:
    """Sends and uploads are 503 with Retry-After, and go on by themselves afterwards."""
    alice, bob = await start_pair()
    with full(redis):
        assert is_refusal(await alice.send(bob, b"too much"))
        assert is_refusal(await upload(alice))
    assert (await alice.send(bob, b"fits")).status == 201
    assert (await upload(alice)).status == 201
    assert contents_of(redis, bob) == [b"fits"]


async def test_sessions_are_refreshed_and_ended_without_room(start_pair: StartPair, redis: Redis) -> None:
    """Refresh, logout and a takeover: whoever is to be locked out is, at once."""
    alice, bob = await start_pair()
    other = await alice.another_session()
    with full(redis):
        bob = await refreshed(bob)
        assert (await alice.upload(Device().takeover(1, one_time_keys(1, 3)))).status == 200
        assert (await bob.logout()).status == 200
        assert [(await user.send(bob, b"hello")).status for user in (other, bob)] == [401, 401]
    assert await access_token_works(alice)


async def test_the_clean_up_makes_room(start_pair: StartPair, redis: Redis) -> None:
    """Expired messages go, of more inboxes than one, though each has messages left that are noted anew."""
    alice, bob = await start_pair(messaging_cleanup_interval_secs=0.1)
    with full(redis):
        for user in (alice, bob):
            redis.config_set("maxmemory", 0)
            fill_with_past(redis, user, alice, {b"expired": TTL_MS + 1000, b"stays": TTL_MS - 3_600_000})
            redis.zadd(keyspace.INBOX_EXPIRY, {user.id: 1})
            redis.config_set("maxmemory", 1)
        await eventually(lambda: contents_of(redis, alice) == contents_of(redis, bob) == [b"stays"])
