"""Expired messages: their bytes leave Redis within the cleanup interval."""

from collections.abc import Awaitable, Callable, Iterator
from uuid import uuid4

import pytest
from redis import Redis

from obscura.node.node import Node
from obscura.store import keyspace
from tests.conftest import StartNode
from tests.gateway.sockets import open_after
from tests.support.client import Api, User, encrypted
from tests.support.inbox import contents_of, fill_with_past, size_of
from tests.support.inspection import metric
from tests.support.outages import killed, retry_on_503
from tests.support.redis import RedisServer
from tests.support.waiting import eventually

TTL_DAYS = 0.5
TTL_MS = 12 * 3_600_000
HOUR_MS = 3_600_000

StartPair = Callable[..., Awaitable[tuple[User, User]]]


@pytest.fixture
def redis(own_redis: RedisServer) -> Iterator[Redis]:
    """A Redis of the test's own, in bytes: a clean-up looks at all inboxes there are."""
    with Redis(unix_socket_path=str(own_redis.path)) as client:
        yield client


@pytest.fixture
def start_pair(start_node: StartNode, connect_api: Callable[[Node], Api], own_redis: RedisServer) -> StartPair:
    """Starts a node and gives Alice, who sends, and Bob, who receives."""

    async def start(interval_secs: float = 0.1) -> tuple[User, User]:
        api = connect_api(
            await start_node(redis_url=own_redis.url, ttl_days=TTL_DAYS, messaging_cleanup_interval_secs=interval_secs)
        )
        return await api.register(), await api.register()

    return start


def noted(redis: Redis, user: User) -> int | None:
    """When the clean-up is to look after a user's inbox."""
    score = redis.zscore(keyspace.INBOX_EXPIRY, user.id)
    return None if score is None else int(score)


async def test_expired_messages_leave_an_inbox_that_goes_on(start_pair: StartPair, redis: Redis) -> None:
    """What expires after the last send is removed without another, and the rest stays with its right size."""
    alice, bob = await start_pair()
    fill_with_past(redis, bob, alice, {b"expires first": TTL_MS - 300, b"then": TTL_MS - 600, b"later": HOUR_MS})
    await alice.deliver(bob, b"last")
    await eventually(lambda: contents_of(redis, bob) == [b"later", b"last"])
    assert size_of(redis, bob) == len(encrypted(b"later")) + len(encrypted(b"last"))


async def test_an_inbox_is_looked_after_again(start_pair: StartPair, redis: Redis) -> None:
    """After a clean-up the next is due when the message that is oldest then has expired."""
    alice, bob = await start_pair()
    fill_with_past(redis, bob, alice, {b"old": 2 * HOUR_MS, b"younger": HOUR_MS})
    await alice.deliver(bob, b"last")
    oldest_ms = int(redis.xrange(keyspace.inbox(bob.id))[0][0].partition(b"-")[0])
    assert noted(redis, bob) == oldest_ms + TTL_MS + 1
    redis.zadd(keyspace.INBOX_EXPIRY, {bob.id: 1})
    await eventually(lambda: noted(redis, bob) == oldest_ms + TTL_MS + 1)
    assert len(contents_of(redis, bob)) == 3


async def test_an_empty_inbox_is_forgotten(start_pair: StartPair, redis: Redis) -> None:
    """The clean-up keeps no list of accounts that ever had a message."""
    _, bob = await start_pair()
    redis.zadd(keyspace.INBOX_EXPIRY, {bob.id: 1})
    await eventually(lambda: noted(redis, bob) is None)


async def test_an_inbox_that_is_heard_of_is_not_noted(start_pair: StartPair, redis: Redis) -> None:
    """Messages for a socket are acked soon: the clean-up has nothing to do with them, and they cost no round trip."""
    alice, bob = await start_pair(interval_secs=300)
    socket = await bob.connect()
    await open_after(socket, alice, bob)
    await alice.deliver(bob, b"one", b"two", b"three")
    assert noted(redis, bob) is None
    assert 0 < redis.pttl(keyspace.inbox(bob.id)) <= TTL_MS


async def test_an_inbox_that_waits_is_noted_and_counted_when_it_expires(
    start_node: StartNode, connect_api: Callable[[Node], Api], own_redis: RedisServer, redis: Redis
) -> None:
    """Messages of one interval for nobody who is there leave as a whole, each told in the metric."""
    node = await start_node(redis_url=own_redis.url, ttl_days=3 / 86_400, messaging_cleanup_interval_secs=300)
    api = connect_api(node)
    alice, bob = await api.register(), await api.register()
    before = metric("obscura_messages_expired_total")
    await alice.deliver(bob, b"one", b"two", b"three")
    assert noted(redis, bob) is not None

    async def are_counted() -> bool:
        await node._services.messages.sweep()
        return metric("obscura_messages_expired_total") >= before + 3

    await eventually(are_counted)
    assert metric("obscura_messages_expired_total") == before + 3
    assert noted(redis, bob) is None


@pytest.mark.parametrize("version", ["0.2.0", "this"])
async def test_what_waits_follows_a_longer_ttl_after_a_restart(
    start_node: StartNode, connect_api: Callable[[Node], Api], own_redis: RedisServer, redis: Redis, version: str
) -> None:
    """Also what an older version wrote, which let inboxes die as a whole and told the clean-up of few."""
    short = await start_node(redis_url=own_redis.url, ttl_days=60 / 86_400, messaging_cleanup_interval_secs=300)
    api = connect_api(short)
    alice, bob = await api.register(), await api.register()
    await alice.deliver(bob, b"waits")
    if version == "0.2.0":
        redis.delete(keyspace.INBOX_EXPIRY, keyspace.INBOX_TTL)
    await short.stop()
    long = await start_node(redis_url=own_redis.url, ttl_days=TTL_DAYS, messaging_cleanup_interval_secs=300)
    await eventually(lambda: redis.pttl(keyspace.inbox(bob.id)) > TTL_MS - HOUR_MS)
    sent_ms = int(redis.xrange(keyspace.inbox(bob.id))[0][0].partition(b"-")[0])
    await eventually(lambda: noted(redis, bob) == sent_ms + TTL_MS + 1)
    await eventually(lambda: redis.get(keyspace.INBOX_TTL) == b"%d" % TTL_MS)
    await long.stop()


async def test_inboxes_are_looked_at_once_for_a_ttl(
    start_node: StartNode, own_redis: RedisServer, redis: Redis
) -> None:
    """A node that finds them by its own TTL does not look at all keys again."""
    for scans in (1, 1):
        await start_node(redis_url=own_redis.url, messaging_cleanup_interval_secs=0.1)
        looks = ranges_read(redis)
        await eventually(lambda looks=looks: ranges_read(redis) >= looks + 2)
        assert redis.info("commandstats")["cmdstat_scan"]["calls"] == scans


async def test_a_note_that_was_lost_is_made_up_for(start_pair: StartPair, redis: Redis) -> None:
    """One note per interval: not for each message, and again with the first of a later interval."""
    alice, bob = await start_pair(interval_secs=300)
    for youngest_ms in (4 * HOUR_MS, 600_000):
        redis.delete(keyspace.inbox(bob.id))
        fill_with_past(redis, bob, alice, {b"old": 5 * HOUR_MS, b"younger": youngest_ms})
        await alice.deliver(bob, b"first of its interval")
        assert noted(redis, bob) is not None
        redis.zrem(keyspace.INBOX_EXPIRY, bob.id)  # as by a crash of the node before it was written
        await alice.deliver(bob, b"second of its interval")
        assert noted(redis, bob) is None


async def test_any_amount_is_cleaned_up(start_pair: StartPair, redis: Redis) -> None:
    """Hundreds of messages in one inbox and hundreds of inboxes, in steps that let others have their turn."""
    await start_pair()
    users = [str(uuid4()) for _ in range(250)]
    expired_ms = redis.time()[0] * 1000 - TTL_MS - HOUR_MS
    with redis.pipeline(transaction=False) as commands:
        for user in users:
            count = 450 if user == users[0] else 2
            for seq in range(count):
                commands.xadd(f"obscura:{{{user}}}:inbox", {"from": user, "body": b"xyz"}, id=f"{expired_ms}-{seq}")
            commands.xadd(f"obscura:{{{user}}}:inbox", {"from": user, "body": b"new"}, id=f"{expired_ms + TTL_MS}-0")
            commands.hset(f"obscura:{{{user}}}:account", "inbox_bytes", 3 * count + 3)
            commands.zadd(keyspace.INBOX_EXPIRY, {user: expired_ms + TTL_MS + 1})
        commands.execute()
    await eventually(lambda: redis.zcount(keyspace.INBOX_EXPIRY, "-inf", redis.time()[0] * 1000) == 0)
    for user in users:
        assert redis.xlen(f"obscura:{{{user}}}:inbox") == 1
        assert redis.hget(f"obscura:{{{user}}}:account", "inbox_bytes") == b"3"


async def test_the_clean_up_outlives_an_outage(start_pair: StartPair, redis: Redis, own_redis: RedisServer) -> None:
    """When Redis is back it goes on."""
    alice, bob = await start_pair()
    with killed(own_redis):
        assert (await alice.send(bob, b"refused")).status == 503
    await retry_on_503(lambda: alice.send(bob, b"flows again"))
    redis.delete(keyspace.inbox(bob.id))
    fill_with_past(redis, bob, alice, {b"expires": TTL_MS - 200})
    await alice.deliver(bob, b"last")
    await eventually(lambda: contents_of(redis, bob) == [b"last"])


async def test_the_clean_up_outlives_what_it_cannot_read(start_pair: StartPair, redis: Redis) -> None:
    """A key of the wrong type stops one clean-up, not all that follow."""
    alice, bob = await start_pair()
    redis.set(keyspace.INBOX_EXPIRY, "somebody's mistake")
    looks = ranges_read(redis)
    await eventually(lambda: ranges_read(redis) >= looks + 2)
    redis.delete(keyspace.INBOX_EXPIRY)
    fill_with_past(redis, bob, alice, {b"expires": TTL_MS - 200})
    await alice.deliver(bob, b"last")
    await eventually(lambda: contents_of(redis, bob) == [b"last"])


def ranges_read(redis: Redis) -> int:
    """How often anybody has asked what is due."""
    return int(redis.info("commandstats").get("cmdstat_zrange", {"calls": 0})["calls"])
