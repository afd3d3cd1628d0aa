"""Messages through the API: stored once, in order, within limits, or refused."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from io import BytesIO
from typing import Any

import pytest
from redis import Redis

from obscura.node.node import Node
from obscura.store import keyspace
from tests.conftest import StartNode
from tests.support.client import Answer, Api, Socket, User, encrypted, exchange
from tests.support.inbox import bodies_of, contents_of, fill_with_past, size_of
from tests.support.outages import is_refusal, killed, paused, retry_on_503
from tests.support.redis import RedisServer
from tests.support.waiting import eventually

pytestmark = pytest.mark.libraries

HOUR_MS = 3_600_000
NOBODY = "7d444840-9dc0-41d1-b245-5ffdce74fad2"
ConnectApi = Callable[[Node], Api]


@pytest.fixture
async def pair(api: Api) -> tuple[User, User]:
    """Alice, who sends, and Bob, who receives."""
    return await api.register(), await api.register()


async def post(sender: User, recipient: User, body: Any, **headers: str) -> Answer:
    """Send a body as it is."""
    path = f"/v1/messages/{recipient.id}"
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return await sender.api.call("POST", path, token=sender.token, data=body, headers=named)


async def in_chunks(body: bytes) -> AsyncIterator[bytes]:
    """A body without a Content-Length."""
    for start in range(0, len(body), 300):
        yield body[start : start + 300]


# Stored.


async def test_a_201_means_stored(pair: tuple[User, User], redis_bytes: Redis) -> None:
    """When the answer comes the message is in Redis, byte for byte, with who sent it."""
    alice, bob = pair
    body = encrypted(bytes(range(256)))
    answer = await post(alice, bob, body)
    assert (answer.status, answer.body) == (201, b"")
    ((_, fields),) = redis_bytes.xrange(keyspace.inbox(bob.id))
    assert fields == {b"from": alice.id.encode(), b"body": body}


async def test_messages_come_in_the_order_they_were_stored(pair: tuple[User, User]) -> None:
    """First in, first out, for a socket that was there and for one that comes later."""
    alice, bob = pair
    contents = [b"%d" % number for number in range(30)]
    live = await bob.connect()
    await alice.deliver(bob, *contents)
    later = await bob.connect()
    for socket in (live, later):
        assert [envelope.message.content for envelope in await socket.envelopes(30)] == contents


async def test_a_message_to_oneself_is_a_message(pair: tuple[User, User], redis_bytes: Redis) -> None:
    """Sender and recipient may be one account."""
    alice, _ = pair
    await alice.deliver(alice, b"note to self")
    assert contents_of(redis_bytes, alice) == [b"note to self"]


async def test_one_message_costs_redis_one_script(
    start_node: StartNode, connect_api: ConnectApi, own_redis: RedisServer
) -> None:
    """No command of a client beside it, also for an inbox that has waited for long, but once per interval."""
    api = connect_api(await start_node(redis_url=own_redis.url))
    alice, bob = await api.register(), await api.register()
    with Redis(unix_socket_path=str(own_redis.path)) as redis_bytes:
        await alice.deliver(bob, b"loads the script")
        redis_bytes.delete(keyspace.inbox(bob.id))
        fill_with_past(redis_bytes, bob, alice, {b"waits for long": 5 * HOUR_MS})
        redis_bytes.config_resetstat()
        await alice.deliver(bob, *(b"%d" % number for number in range(20)))
        calls = {name: stats["calls"] for name, stats in redis_bytes.info("commandstats").items()}
    assert calls["cmdstat_evalsha"] == 20
    assert calls["cmdstat_zadd"] == 1  # the note for the clean-up
    in_the_script = ("evalsha", "hmget", "xlen", "time", "xadd", "pexpire", "hset", "publish")
    others = {name: count for name, count in calls.items() if name.removeprefix("cmdstat_") not in in_the_script}
    assert sum(others.values()) < 10, others


async def test_scripts_survive_a_flush(pair: tuple[User, User], redis_bytes: Redis) -> None:
    """SCRIPT FLUSH is not noticed by a sender or a recipient."""
    alice, bob = pair
    redis_bytes.script_flush()
    await alice.deliver(bob, b"hello")
    redis_bytes.script_flush()
    socket = await bob.connect()
    envelope = await socket.envelope()
    redis_bytes.script_flush()
    await socket.ack(envelope)
    await eventually(lambda: bodies_of(redis_bytes, bob) == [])


# What a message is.


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b"", "content is empty"),
        (b"\x08\x02", "content is empty"),
        (b"\x12\x00", "content is empty"),
        (b"hello", "The body is not a valid EncryptedMessage"),
        (b"\x12\x05x", "The body is not a valid EncryptedMessage"),
        (b"\xff" * 100, "The body is not a valid EncryptedMessage"),
    ],
)
async def test_a_body_without_content_is_refused(
    pair: tuple[User, User], redis_bytes: Redis, body: bytes, error: str
) -> None:
    """No content, or no EncryptedMessage at all, is a 400, and nothing is stored."""
    alice, bob = pair
    answer = await post(alice, bob, body)
    assert (answer.status, answer.error) == (400, error)
    assert bodies_of(redis_bytes, bob) == []


async def test_any_type_is_relayed(pair: tuple[User, User]) -> None:
    """Known, unknown or none: the enum is open."""
    alice, bob = pair
    bodies = [b"\x08" + kind + b"\x12\x02hi" for kind in (b"\x00", b"\x01", b"\x02", b"\x63", b"\xff" * 9 + b"\x01")]
    for body in [*bodies, b"\x12\x02hi"]:
        assert (await post(alice, bob, body)).status == 201
    envelopes = await (await bob.connect()).envelopes(6)
    assert [envelope.message.type for envelope in envelopes] == [0, 1, 2, 99, -1, 0]


async def test_unknown_fields_reach_the_recipient_untouched(pair: tuple[User, User]) -> None:
    """What a newer client puts into its message is not ours to drop, live or from the inbox."""
    alice, bob = pair
    body = b"\x08\x01" + b"\x12\x02hi" + b"\x1a\x03new" + b"\xa0\x06\x01" + b"\x9d\x06abcd"
    sockets = [await bob.connect()]
    assert (await post(alice, bob, body)).status == 201
    sockets.append(await bob.connect())
    for socket in sockets:
        assert (await socket.envelope()).message.SerializeToString(deterministic=True) == body


@pytest.mark.parametrize(
    "content_type",
    ["application/x-protobuf", "application/octet-stream", "application/json", "text/plain; charset=utf-7", "nonsense"],
)
async def test_any_content_type_is_accepted(pair: tuple[User, User], content_type: str) -> None:
    """Clients differ in what they call a protobuf."""
    alice, bob = pair
    assert (await post(alice, bob, encrypted(b"hi"), Content_Type=content_type)).status == 201


async def test_an_unknown_recipient_is_not_found(pair: tuple[User, User], redis_bytes: Redis) -> None:
    """And gets no inbox."""
    alice, _ = pair
    answer = await alice.api.call("POST", f"/v1/messages/{NOBODY}", token=alice.token, data=encrypted(b"hi"))
    assert (answer.status, answer.error) == (404, "Recipient not found")
    assert redis_bytes.keys(f"obscura:{{{NOBODY}}}:*") == []


async def test_a_sender_needs_a_token_as_a_recipient_needs_an_id(pair: tuple[User, User]) -> None:
    """401 without the one, 400 without the other."""
    alice, bob = pair
    path = f"/v1/messages/{bob.id}"
    assert (await alice.api.call("POST", path, data=encrypted(b"hi"))).status == 401
    assert (await alice.api.call("POST", path, token="no token", data=encrypted(b"hi"))).status == 401
    answer = await alice.api.call("POST", "/v1/messages/bob", token=alice.token, data=encrypted(b"hi"))
    assert (answer.status, answer.error) == (400, "recipientId is not a UUID")


# Limits.


@pytest.mark.parametrize("max_bytes", [1000, 2**20 - 91, 2 * 2**20])
async def test_a_message_of_exactly_the_limit_is_accepted(
    start_node: StartNode, connect_api: ConnectApi, redis_bytes: Redis, max_bytes: int
) -> None:
    """With and without a Content-Length; one byte more is a 413, and nothing of it is stored."""
    api = connect_api(await start_node(max_message_bytes=max_bytes))
    alice, bob = await api.register(), await api.register()
    bodies = (encrypted(bytes(max_bytes - overhead)) for overhead in range(8))
    body = next(body for body in bodies if len(body) == max_bytes)
    for form in (BytesIO(body), in_chunks(body)):
        assert (await post(alice, bob, form)).status == 201
    for form in (BytesIO(body + b"\x08"), in_chunks(body + b"\x08")):
        answer = await post(alice, bob, form)
        assert (answer.status, answer.error) == (413, f"The body is over {max_bytes} bytes")
    assert bodies_of(redis_bytes, bob) == [body, body]


async def test_a_body_over_the_limit_is_refused_by_its_header(pair: tuple[User, User]) -> None:
    """The answer does not wait for the body."""
    alice, bob = pair
    head = f"POST /v1/messages/{bob.id} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {alice.token}\r\n"
    answer = await exchange(alice.api.port, f"{head}Content-Length: {2**30}\r\n\r\n".encode())
    assert (answer.status, answer.error) == (413, "The body is over 1048485 bytes")


async def test_over_the_count_limit_the_oldest_go(
    start_node: StartNode, connect_api: ConnectApi, redis_bytes: Redis
) -> None:
    """In the same step as the append: no answer ever finds one too many."""
    api = connect_api(await start_node(max_inbox_size=3))
    alice, bob = await api.register(), await api.register()
    for number in range(6):
        await alice.deliver(bob, b"%d" % number)
        assert redis_bytes.xlen(keyspace.inbox(bob.id)) == min(number + 1, 3)
    assert contents_of(redis_bytes, bob) == [b"3", b"4", b"5"]


async def test_over_the_byte_limit_the_oldest_go(
    start_node: StartNode, connect_api: ConnectApi, redis_bytes: Redis
) -> None:
    """As many as it takes for the new one, in the same step."""
    api = connect_api(await start_node(max_inbox_bytes=1000, max_message_bytes=1000))
    alice, bob = await api.register(), await api.register()
    for size in (300, 300, 300, 500, 10, 990):
        await alice.deliver(bob, bytes(size))
        sizes = [len(body) for body in bodies_of(redis_bytes, bob)]
        assert sum(sizes) <= 1000
        assert size_of(redis_bytes, bob) == sum(sizes)
    assert [len(content) for content in contents_of(redis_bytes, bob)] == [990]


async def test_a_full_inbox_keeps_its_newest_in_order_under_concurrent_sends(
    start_node: StartNode, connect_api: ConnectApi, redis_bytes: Redis
) -> None:
    """40 senders at once never push it over its limit, and each one's messages stay in order."""
    api = connect_api(await start_node(max_inbox_size=25))
    alice, bob = await api.register(), await api.register()

    async def send_in_turn(sender: int) -> None:
        await alice.deliver(bob, *(b"%d %d" % (sender, number) for number in range(5)))

    await asyncio.gather(*map(send_in_turn, range(40)))
    contents = contents_of(redis_bytes, bob)
    assert len(contents) == 25
    for sender in range(40):
        own = [content for content in contents if content.startswith(b"%d " % sender)]
        assert own == [b"%d %d" % (sender, number) for number in range(5 - len(own), 5)]


# Ids and ages.


async def test_messages_flow_when_the_clock_went_back(pair: tuple[User, User], redis_bytes: Redis) -> None:
    """Ids go on from the last one ever given, so a socket that is there misses nothing; timestamps are true."""
    alice, bob = pair
    socket = await bob.connect()
    started_ms = time.time_ns() // 1_000_000
    await alice.deliver(bob, b"before")
    envelopes = [await socket.envelope()]
    future_ms = 2 * envelopes[0].timestamp
    redis_bytes.hset(keyspace.account(bob.id), "inbox_last", f"{future_ms}-3")
    await alice.deliver(bob, b"one", b"two")
    envelopes += await socket.envelopes(2)
    redis_bytes.delete(keyspace.inbox(bob.id))
    await alice.deliver(bob, b"three")
    envelopes.append(await socket.envelope())
    assert [envelope.message.content for envelope in envelopes] == [b"before", b"one", b"two", b"three"]
    assert [envelope.id for envelope in envelopes] == sorted(envelope.id for envelope in envelopes)
    ended_ms = time.time_ns() // 1_000_000
    assert all(started_ms - 1_000 <= envelope.timestamp <= ended_ms + 1_000 for envelope in envelopes)


async def test_an_expired_message_is_never_delivered(
    start_node: StartNode, connect_api: ConnectApi, redis_bytes: Redis
) -> None:
    """With a TTL of half a day, what was sent 13 hours ago is gone for a socket, though it lies there still."""
    api = connect_api(await start_node(ttl_days=0.5))
    alice, bob = await api.register(), await api.register()
    past = {b"20 h": 20 * HOUR_MS, b"13 h": 13 * HOUR_MS, b"11 h": 11 * HOUR_MS, b"1 h": HOUR_MS}
    fill_with_past(redis_bytes, bob, alice, past)
    socket = await bob.connect()
    assert [envelope.message.content for envelope in await socket.envelopes(2)] == [b"11 h", b"1 h"]
    assert len(bodies_of(redis_bytes, bob)) == 4


async def test_an_inbox_dies_with_its_last_message(
    start_node: StartNode, connect_api: ConnectApi, redis_bytes: Redis
) -> None:
    """Redis frees it by itself when the TTL of the newest is over; a fractional TTL is taken as it is."""
    api = connect_api(await start_node(ttl_days=0.5))
    alice, bob = await api.register(), await api.register()
    await alice.deliver(bob, b"hello")
    assert 11 * HOUR_MS < redis_bytes.pttl(keyspace.inbox(bob.id)) <= 12 * HOUR_MS


async def test_messages_of_a_moment_are_gone_after_it(
    start_node: StartNode, connect_api: ConnectApi, redis_bytes: Redis
) -> None:
    """A TTL of 100 ms passes, and the next message has the inbox for itself."""
    api = connect_api(await start_node(ttl_days=0.1 / 86_400))
    alice, bob = await api.register(), await api.register()
    await alice.deliver(bob, b"gone soon")
    await eventually(lambda: not redis_bytes.exists(keyspace.inbox(bob.id)))
    socket = await bob.connect()
    await alice.deliver(bob, b"live")
    assert (await socket.envelope()).message.content == b"live"


# Sent twice.


async def test_an_idempotency_key_makes_a_retry_harmless(pair: tuple[User, User], redis_bytes: Redis) -> None:
    """The same answer, one message."""
    alice, bob = pair
    for _ in range(3):
        assert (await post(alice, bob, encrypted(b"hi"), Idempotency_Key="a key")).status == 201
    assert contents_of(redis_bytes, bob) == [b"hi"]
    assert 23 * HOUR_MS < redis_bytes.pttl(keyspace.idempotency(bob.id, alice.id, "a key")) <= 24 * HOUR_MS


async def test_without_a_key_two_messages_are_two(pair: tuple[User, User], redis_bytes: Redis) -> None:
    """Equal bodies are not a repeat."""
    alice, bob = pair
    await alice.deliver(bob, b"hi", b"hi")
    assert contents_of(redis_bytes, bob) == [b"hi", b"hi"]


async def test_a_key_used_for_another_body_is_refused(pair: tuple[User, User], redis_bytes: Redis) -> None:
    """422: the client mixed something up, and neither guess would be right."""
    alice, bob = pair
    await post(alice, bob, encrypted(b"hi"), Idempotency_Key="a key")
    answer = await post(alice, bob, encrypted(b"ho"), Idempotency_Key="a key")
    assert (answer.status, answer.error) == (422, "Idempotency-Key was used for another message")
    assert contents_of(redis_bytes, bob) == [b"hi"]


async def test_a_key_is_its_senders_for_one_recipient(pair: tuple[User, User], redis_bytes: Redis) -> None:
    """Two senders, or one and two recipients, may use the same one."""
    alice, bob = pair
    carol = await alice.api.register()
    for sender, recipient, content in ((alice, bob, b"1"), (carol, bob, b"2"), (alice, carol, b"3")):
        assert (await post(sender, recipient, encrypted(content), Idempotency_Key="a key")).status == 201
    assert (contents_of(redis_bytes, bob), contents_of(redis_bytes, carol)) == ([b"1", b"2"], [b"3"])


@pytest.mark.parametrize("key", ["", "x" * 65, "tab\there", "ümlaut", "\x7f", "💥"], ids=ascii)
async def test_a_malformed_key_is_refused(pair: tuple[User, User], redis_bytes: Redis, key: str) -> None:
    """Empty, over 64 characters, or not printable ASCII."""
    alice, bob = pair
    head = f"POST /v1/messages/{bob.id} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {alice.token}\r\n"
    body = encrypted(b"hi")
    request = f"{head}Idempotency-Key: {key}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
    answer = await exchange(alice.api.port, request)
    assert answer.status == 400
    assert bodies_of(redis_bytes, bob) == []


@pytest.mark.parametrize("key", ["x", "x" * 64, "{}:*?[a] ", '"\\'])
async def test_any_printable_key_of_64_characters_will_do(
    pair: tuple[User, User], redis_bytes: Redis, key: str
) -> None:
    """Also one that means something to Redis."""
    alice, bob = pair
    for _ in range(2):
        assert (await post(alice, bob, encrypted(b"hi"), Idempotency_Key=key)).status == 201
    assert contents_of(redis_bytes, bob) == [b"hi"]


async def test_repeats_at_once_on_two_nodes_store_one(two_apis: tuple[Api, Api], redis_bytes: Redis) -> None:
    """All get their 201."""
    alice, bob = await two_apis[0].register(), await two_apis[0].register()
    senders = [alice.at(two_apis[number % 2]) for number in range(20)]
    answers = await asyncio.gather(
        *(post(sender, bob, encrypted(b"hi"), Idempotency_Key="a key") for sender in senders)
    )
    assert {answer.status for answer in answers} == {201}
    assert contents_of(redis_bytes, bob) == [b"hi"]


# Redis away.


@pytest.fixture
async def fragile(start_node: StartNode, connect_api: ConnectApi, own_redis: RedisServer) -> tuple[User, User]:
    """Alice and Bob at a node whose Redis the test may hurt."""
    api = connect_api(await start_node(redis_url=own_redis.url))
    return await api.register(), await api.register()


async def test_a_dead_redis_is_a_503_until_it_is_back(fragile: tuple[User, User], own_redis: RedisServer) -> None:
    """Never a 201 meanwhile; afterwards messages flow again to the same socket, and none that was stored is lost."""
    alice, bob = fragile
    socket = await bob.connect()
    await alice.deliver(bob, b"before")
    with killed(own_redis):
        for _ in range(5):
            assert is_refusal(await alice.send(bob, b"never stored"))
        assert is_refusal(await alice.bundle_of(bob))
    assert (await retry_on_503(lambda: alice.send(bob, b"after"))).status == 201
    assert [envelope.message.content for envelope in await socket.envelopes(2)] == [b"before", b"after"]
    later = await eventually(lambda: connected(bob))
    assert [envelope.message.content for envelope in await later.envelopes(2)] == [b"before", b"after"]


async def connected(user: User) -> Socket | None:
    """A socket, once the node hears events again."""
    socket = await user.try_connect()
    return socket if isinstance(socket, Socket) else None


async def test_a_retry_after_redis_hung_stores_once(fragile: tuple[User, User], own_redis: RedisServer) -> None:
    """A send that got no reply may have been stored: with its key the client can repeat it without fear."""
    alice, bob = fragile

    def send() -> Awaitable[Answer]:
        return post(alice, bob, encrypted(b"hi"), Idempotency_Key="a key")

    with paused(own_redis):
        async with asyncio.timeout(8):  # 2 s are promised for each; the machine may be busy
            answers = [*await asyncio.gather(*(send() for _ in range(10))), await send()]
        assert all(map(is_refusal, answers))
    assert (await retry_on_503(send)).status == 201
    await alice.deliver(bob, b"next")
    socket = await bob.connect()
    assert [envelope.message.content for envelope in await socket.envelopes(2)] == [b"hi", b"next"]


async def test_a_full_redis_refuses_to_store_but_not_to_free(
    fragile: tuple[User, User], own_redis: RedisServer
) -> None:
    """At maxmemory a send is a 503; acks still work, the inbox stays true to its size, and all goes on afterwards."""
    alice, bob = fragile
    await alice.deliver(bob, b"one", b"two")
    with Redis(unix_socket_path=str(own_redis.path)) as redis_bytes:
        redis_bytes.config_set("maxmemory", 1)
        assert is_refusal(await alice.send(bob, b"three"))
        socket = await bob.connect()
        await socket.ack((await socket.envelopes(2))[0])
        await eventually(lambda: contents_of(redis_bytes, bob) == [b"two"])
        assert size_of(redis_bytes, bob) == len(encrypted(b"two"))
        redis_bytes.config_set("maxmemory", 0)
    await alice.deliver(bob, b"four")
    assert (await socket.envelope()).message.content == b"four"
