"""The rules of the gateway, one test each, on one node: docs/clients/gateway.md says them."""

import asyncio
import gc
import time
from collections.abc import Callable
from uuid import UUID, uuid4

import jwt
import pytest
from redis import Redis

from obscura.gateway.socket import GatewaySocket
from obscura.model.message_ids import EntryId, MessageIds
from obscura.node.node import Node
from obscura.store import keyspace
from obscura.v1.obscura_pb2 import EncryptedMessage, Envelope, PreKeyStatus, WebSocketFrame
from tests.conftest import JWT_SECRET, StartNode
from tests.support.client import Api, Socket, User, ack_frame, encrypted
from tests.support.inbox import contents_of, size_of
from tests.support.inspection import inbox_of, metric, uuid_of
from tests.support.keys import Device, one_time_keys
from tests.support.proxy import Proxy
from tests.support.raw_socket import BINARY, CLOSE, PING, PONG, TEXT, Frame, RawSocket, frame_bytes
from tests.support.redis import RedisServer
from tests.support.waiting import eventually

Connect = Callable[[Node], Api]


async def raw(user: User, **options: object) -> RawSocket:
    return await RawSocket.open(user.api.port, user.token, **options)  # type: ignore[arg-type]


async def open_after(socket: Socket, sender: User, recipient: User) -> None:
    """Prove that a socket is open and has nothing but a new message to give."""
    await sender.deliver(recipient, b"still there")
    assert await socket.is_silent_until(b"still there") == []


# Before the upgrade.


def token(**changes: object) -> str:
    now = int(time.time())
    claims = {"sub": str(uuid4()), "sid": str(uuid4()), "iat": now - 60, "exp": now + 60}
    return jwt.encode(claims | changes, JWT_SECRET, algorithm="HS256")


@pytest.mark.parametrize(
    "query",
    [
        "",
        "?token=",
        "?token=nonsense",
        f"?token={token(exp=int(time.time()) - 1)}",
        f"?token={jwt.encode({'sub': str(uuid4())}, JWT_SECRET, algorithm='HS256')}",
        f"?token={jwt.encode({'sub': str(uuid4())}, None, algorithm='none')}",
        f"?token={token()}",
    ],
    ids=["missing", "empty", "garbage", "expired", "without claims", "unsigned", "of an unknown session"],
)
async def test_a_token_that_does_not_hold_is_refused_before_the_upgrade(node: Node, query: str) -> None:
    """Missing, invalid, expired or of no session: 401 with the JSON error over plain HTTP."""
    socket = await RawSocket.connect(node.api_port)
    await socket.ask_for_upgrade(f"/v1/gateway{query}")
    assert socket.status == 401
    assert socket.headers["content-type"].startswith("application/json")
    assert b'"error"' in await socket.body()


async def test_the_token_of_an_ended_session_is_refused(api: Api) -> None:
    """After a logout the access token opens no socket."""
    user = await api.register()
    await user.logout()
    assert await user.try_connect() == 401


async def test_a_session_that_is_gone_from_redis_is_refused(api: Api, redis_server: RedisServer) -> None:
    """A node that has not heard of the end of a session asks before it lets a socket in."""
    user = await api.register()
    with redis_server.client as client:
        client.delete(keyspace.session(uuid_of(user), UUID(user.session_id)))
    assert await user.try_connect() == 401


@pytest.mark.parametrize(
    "headers",
    [
        {"Upgrade": ""},
        {"Upgrade": "h2c"},
        {"Connection": "keep-alive"},
        {"Sec-WebSocket-Version": "12"},
        {"Sec-WebSocket-Version": ""},
        {"Sec-WebSocket-Key": ""},
        {"Sec-WebSocket-Key": "short"},
        {"Sec-WebSocket-Key": "\xff" * 24},
    ],
    ids=lambda headers: " ".join(*headers.items())[:24],
)
async def test_a_request_that_is_no_upgrade_is_refused(api: Api, headers: dict[str, str]) -> None:
    """Not a WebSocket handshake: 400 with the JSON error."""
    user = await api.register()
    socket = await RawSocket.connect(api.port)
    await socket.ask_for_upgrade(f"/v1/gateway?token={user.token}", headers)
    assert socket.status == 400
    assert b'"error"' in await socket.body()


async def test_no_compression_is_negotiated(api: Api) -> None:
    """An offer of permessage-deflate is passed over."""
    socket = await raw(await api.register(), headers={"Sec-WebSocket-Extensions": "permessage-deflate"})
    assert "sec-websocket-extensions" not in socket.headers


async def test_the_token_is_never_logged(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    """At no level does a log line hold the token of a socket, let in or refused."""
    caplog.set_level("DEBUG")
    user = await api.register()
    socket = await user.connect()
    await socket.close()
    await user.logout()
    assert await user.try_connect() == 401
    assert "request" in caplog.text
    assert user.token not in caplog.text


async def test_without_redis_a_socket_is_refused_before_the_upgrade(
    start_node: StartNode, own_redis: RedisServer, connect_api: Connect
) -> None:
    """Redis away: 503 with Retry-After, and the same request succeeds when it is back."""
    api = connect_api(await start_node(redis_url=own_redis.url))
    user = await api.register()
    own_redis.kill()
    answer = await api.call(
        "GET",
        f"/v1/gateway?token={user.token}",
        headers={
            "Connection": "Upgrade",
            "Upgrade": "websocket",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
        },
    )
    assert (answer.status, answer.headers["Retry-After"]) == (503, "1")
    assert answer.error
    own_redis.start()

    async def is_let_in() -> bool:
        return isinstance(await user.try_connect(), Socket)

    await eventually(is_let_in)


async def test_two_hundred_sockets_opened_at_once_all_hear(start_node: StartNode, connect_api: Connect) -> None:
    """A storm of connects of one user leaves nobody outside and nobody deaf."""
    api = connect_api(await start_node(max_sockets=1000))
    alice, bob = await api.register(), await api.register()
    sockets = await asyncio.gather(*(bob.connect() for _ in range(200)))
    await alice.deliver(bob, b"to all of you")
    received = await asyncio.gather(*(socket.envelope() for socket in sockets))
    assert {envelope.message.content for envelope in received} == {b"to all of you"}
    await asyncio.gather(*(socket.close() for socket in sockets))


async def test_over_the_connection_limit_a_socket_is_told_to_try_later(
    start_node: StartNode, connect_api: Connect
) -> None:
    """1013 at once for one too many; the others stay, and a place that becomes free is given away again."""
    api = connect_api(await start_node(max_sockets=2))
    alice, bob = await api.register(), await api.register()
    first, second = await bob.connect(), await alice.connect()
    refused = await alice.connect()
    assert await refused.close_code() == 1013
    await open_after(first, alice, bob)
    await second.close()

    async def another_is_let_in() -> bool:
        socket = await raw(alice)
        await socket.send(PING)
        return (await socket.frame()).opcode == PONG

    await eventually(another_is_let_in)


async def test_of_many_that_come_at_once_no_more_than_the_limit_stay(
    start_node: StartNode, connect_api: Connect
) -> None:
    """Five of forty; the others are told to try later."""
    api = connect_api(await start_node(max_sockets=5))
    user = await api.register()
    sockets = await asyncio.gather(*(raw(user) for _ in range(40)))
    for socket in sockets:
        await socket.send(PING)
    frames = [await socket.frame() for socket in sockets]
    goodbyes = [frame for frame in frames if frame.opcode == CLOSE]
    assert len(goodbyes) == 35
    assert {(frame.close_code, frame.close_reason) for frame in goodbyes} == {(1013, "too many connections")}


async def test_frames_sent_along_with_the_handshake_count(api: Api, redis_server: RedisServer) -> None:
    """A client need not wait for the 101 before it acks what it got on an earlier connection."""
    alice, bob = await api.register(), await api.register()
    await alice.deliver(bob, b"acked")
    (acked,) = await (await raw(bob)).envelopes(1)
    socket = await RawSocket.connect(api.port)
    early = frame_bytes(BINARY, ack_frame(acked.id))
    await socket.ask_for_upgrade(f"/v1/gateway?token={bob.token}", and_then=early)
    await eventually(lambda: not inbox_of(redis_server, bob))


# What is pushed.


async def test_on_connect_a_low_status_comes_first(api: Api) -> None:
    """PreKeyStatus, then every pending envelope oldest first, then live ones."""
    alice, bob = await api.register(), await api.register(pre_keys=3)
    await alice.deliver(bob, b"1", b"2", b"3")
    socket = await bob.connect()
    status = await socket.status()
    assert (status.one_time_pre_key_count, status.min_threshold) == (3, 20)
    assert [envelope.message.content for envelope in await socket.envelopes(3)] == [b"1", b"2", b"3"]
    await alice.deliver(bob, b"4")
    assert (await socket.envelope()).message.content == b"4"


async def test_with_enough_pre_keys_no_status_is_sent(api: Api) -> None:
    """The threshold itself is enough."""
    alice, bob = await api.register(), await api.register(pre_keys=20)
    socket = await bob.connect()
    await open_after(socket, alice, bob)


async def test_the_status_is_pushed_when_a_fetch_takes_the_count_below_the_threshold(api: Api) -> None:
    """The fetch that leaves 19 of 20 is told to a live socket; one that leaves more is not."""
    alice, bob = await api.register(), await api.register(pre_keys=21)
    socket = await bob.connect()
    await alice.bundle_of(bob)
    await open_after(socket, alice, bob)
    await alice.bundle_of(bob)
    assert (await socket.status()).one_time_pre_key_count == 19


async def test_an_envelope_tells_sender_time_and_the_message_untouched(api: Api) -> None:
    """Unknown fields and an unknown type reach the recipient as sent."""
    alice, bob = await api.register(), await api.register()
    body = encrypted(b"content", kind=77) + b"\xa2\x06\x05extra"
    answer = await api.call("POST", f"/v1/messages/{bob.id}", token=alice.token, data=body)
    assert answer.status == 201
    socket = await raw(bob)
    frame = await socket.frame()
    envelope = frame.envelope
    assert envelope.source_user_id == alice.id
    assert abs(envelope.timestamp - time.time() * 1000) < 60_000
    assert frame.payload.endswith(body)
    assert EncryptedMessage.FromString(body).type == 77


async def test_what_was_not_acked_comes_again_with_the_same_id(api: Api) -> None:
    """Once per connection, and again on the next."""
    alice, bob = await api.register(), await api.register()
    first = await bob.connect()
    await alice.deliver(bob, b"1", b"2")
    ids = [envelope.id for envelope in await first.envelopes(2)]
    await open_after(first, alice, bob)
    await first.close()
    second = await bob.connect()
    assert [envelope.id for envelope in await second.envelopes(2)] == ids


async def test_what_was_acked_never_comes_again(api: Api) -> None:
    """Acked, whether pushed from the inbox or live, in any order: not on the next connection."""
    alice, bob = await api.register(), await api.register()
    await alice.deliver(bob, b"pending 1", b"pending 2")
    first = await bob.connect()
    await alice.deliver(bob, b"live")
    envelopes = await first.envelopes(3)
    await first.ack(envelopes[2], envelopes[0])
    await first.close()
    second = await bob.connect()
    assert (await second.envelope()).message.content == b"pending 2"
    await open_after(second, alice, bob)


async def test_several_sockets_of_a_user_each_get_every_message(api: Api) -> None:
    """Pending and live ones; what one socket acks the other keeps until its next connection."""
    alice, bob = await api.register(), await api.register()
    await alice.deliver(bob, b"pending")
    sockets = [await bob.connect(), await bob.connect()]
    await alice.deliver(bob, b"live")
    for socket in sockets:
        envelopes = await socket.envelopes(2)
        assert [envelope.message.content for envelope in envelopes] == [b"pending", b"live"]
        await socket.ack(*envelopes)
    await alice.deliver(bob, b"the end")
    for socket in sockets:
        assert await socket.is_silent_until(b"the end") == []


@pytest.mark.filterwarnings("ignore:Sending a large body")
@pytest.mark.parametrize("size", [16_384, 16_385, 1_000_000, 2 * 2**20 - 100])
async def test_a_large_message_is_delivered_live(api: Api, size: int) -> None:
    """Up to the limit of 2 MiB, also when it is too large for its event, and in its place in the order."""
    alice, bob = await api.register(), await api.register()
    socket = await bob.connect()
    content = bytes(range(256)) * (size // 256) + bytes(size % 256)
    await alice.deliver(bob, b"before", content, b"after")
    envelopes = await socket.envelopes(3)
    assert [envelope.message.content for envelope in envelopes] == [b"before", content, b"after"]


async def test_a_backlog_of_a_thousand_arrives_in_order(api: Api) -> None:
    """Over many pages: none left out, none doubled, none out of turn."""
    alice, bob = await api.register(), await api.register()
    contents = [b"%d" % number for number in range(1000)]
    await alice.deliver(bob, *contents)
    socket = await bob.connect()
    assert [envelope.message.content for envelope in await socket.envelopes(1000)] == contents
    await open_after(socket, alice, bob)


# Acks.


async def test_an_ack_of_somebody_elses_message_has_no_effect(api: Api) -> None:
    """Whoever knows an id but is not the recipient cannot remove the message."""
    alice, bob, mallory = await api.register(), await api.register(), await api.register()
    await alice.deliver(bob, b"for bob")
    envelope = await (await bob.connect()).envelope()
    attacker = await mallory.connect()
    await attacker.ack(envelope)
    await attacker.close()
    assert (await (await bob.connect()).envelope()).id == envelope.id


async def test_an_ack_of_nothing_is_fine(api: Api, redis_server: RedisServer) -> None:
    """Unknown, removed and twice acked ids harm neither the socket nor other messages."""
    alice, bob = await api.register(), await api.register()
    await alice.deliver(bob, b"twice", b"removed", b"kept")
    socket = await bob.connect()
    twice, removed, kept = await socket.envelopes(3)
    with redis_server.client as client:
        client.xdel(keyspace.inbox(uuid_of(bob)), str(inbox_of(redis_server, bob)[1]))
    unknown = MessageIds(uuid_of(bob)).encode(EntryId(1, 1)).decode()
    await socket.ack(twice, twice, removed, Envelope(id=unknown))
    await socket.ack(twice)
    await open_after(socket, alice, bob)
    await socket.close()
    assert (await (await bob.connect()).envelope()).id == kept.id


async def test_every_kind_of_ack_takes_its_bytes_off(api: Api, redis_server: RedisServer) -> None:
    """Of what was read from the inbox, pushed live, named in capitals, or had on an earlier socket."""
    alice, bob = await api.register(), await api.register()
    await alice.deliver(bob, b"read", b"in capitals, this one", b"of an earlier socket")
    earlier = await bob.connect()
    of_earlier_socket = (await earlier.envelopes(3))[2]
    await earlier.close()
    socket = await raw(bob)
    await socket.send(BINARY, ack_frame(of_earlier_socket.id))
    read, in_capitals = await socket.envelopes(2)
    await alice.deliver(bob, b"pushed live, and larger than the others", b"kept")
    while (live := (await socket.envelopes(1))[0]).message.content != b"pushed live, and larger than the others":
        pass  # the third may have been on its way already
    for message_id in (read.id, in_capitals.id.upper(), live.id):
        await socket.send(BINARY, ack_frame(message_id))
    with Redis(unix_socket_path=str(redis_server.path)) as redis:
        await eventually(lambda: contents_of(redis, bob) == [b"kept"])
        assert size_of(redis, bob) == len(encrypted(b"kept"))


async def test_acks_are_written_by_count(
    start_node: StartNode, connect_api: Connect, redis_server: RedisServer
) -> None:
    """As many as a batch holds are written at once, long before the interval is over."""
    api = connect_api(await start_node(ws_ack_batch_size=3, ws_ack_flush_interval_ms=3_600_000))
    alice, bob = await api.register(), await api.register()
    await alice.deliver(bob, b"1", b"2", b"3")
    socket = await bob.connect()
    await socket.ack(*await socket.envelopes(3))
    await eventually(lambda: not inbox_of(redis_server, bob))


async def test_acks_are_written_by_interval(
    start_node: StartNode, connect_api: Connect, redis_server: RedisServer
) -> None:
    """A single ack is written when the interval is over."""
    api = connect_api(await start_node(ws_ack_batch_size=1000, ws_ack_flush_interval_ms=20))
    alice, bob = await api.register(), await api.register()
    await alice.deliver(bob, b"1")
    socket = await bob.connect()
    await socket.ack(await socket.envelope())
    await eventually(lambda: not inbox_of(redis_server, bob))


@pytest.fixture
async def lazy_api(start_node: StartNode, connect_api: Connect) -> Api:
    """A node that writes acks neither by count nor by interval."""
    return connect_api(await start_node(ws_ack_batch_size=10_000, ws_ack_flush_interval_ms=3_600_000))


async def test_acks_are_written_before_a_close_is_answered(
    start_node: StartNode, connect_api: Connect, redis_server: RedisServer
) -> None:
    """Who has the answer to its close may connect anywhere at once, and gets nothing that it acked."""
    async with Proxy(redis_server.path) as proxy:
        api = connect_api(await start_node(redis_url=proxy.redis_url))
        alice, bob = await api.register(), await api.register()
        await alice.deliver(bob, b"1", b"2")
        socket = await bob.connect()
        envelopes = await socket.envelopes(2)
        proxy.delay_secs = 0.1
        await socket.ack(*envelopes)
        await socket.close()
        assert not inbox_of(redis_server, bob)
        proxy.delay_secs = 0


async def test_acks_of_one_socket_hold_for_the_next(lazy_api: Api) -> None:
    """A second socket of the user is not given what the first, still open, has acked."""
    alice, bob = await lazy_api.register(), await lazy_api.register()
    await alice.deliver(bob, b"acked", b"not acked")
    first = await raw(bob)
    acked, _ = await first.envelopes(2)
    await first.send(BINARY, ack_frame(acked.id))
    await first.send(PING)
    await first.frames_until(PONG)
    second = await bob.connect()
    assert (await second.envelope()).message.content == b"not acked"


# Frames that mean nothing, and frames that mean the end.


@pytest.mark.parametrize(
    ("opcode", "payload", "reason"),
    [
        (BINARY, b"", "no ack"),
        (BINARY, b"\xff" * 40, "no ack"),
        (BINARY, b"\x00" * 65_536, "no ack"),
        (BINARY, WebSocketFrame(pre_key_status=PreKeyStatus(min_threshold=1)).SerializeToString(), "no ack"),
        (BINARY, WebSocketFrame(envelope=Envelope(id=str(uuid4()))).SerializeToString(), "no ack"),
        (BINARY, ack_frame(""), "foreign id"),
        (BINARY, ack_frame("not a UUID"), "foreign id"),
        (BINARY, ack_frame("1\u0665345678-1234-7234-9234-123456789012"), "foreign id"),
        (BINARY, ack_frame(str(uuid4())), "foreign id"),
        (TEXT, b"hello", "text"),
        (TEXT, b"\xff\xfe", "text"),
    ],
    ids=[
        *("empty", "malformed", "of 64 KiB exactly", "a status", "an envelope", "no id", "a bad UUID"),
        *("other digits", "a foreign UUID", "text", "text that is not UTF-8"),
    ],
)
async def test_a_frame_that_means_nothing_is_ignored(api: Api, opcode: int, payload: bytes, reason: str) -> None:
    """It is counted, and the socket stays open."""
    user = await api.register()
    before = metric("obscura_gateway_frames_ignored_total", reason=reason)
    socket = await raw(user)
    await socket.send(opcode, payload)
    await socket.send(PING, b"open?")
    assert await socket.frame() == Frame(PONG, b"open?")
    assert metric("obscura_gateway_frames_ignored_total", reason=reason) == before + 1


@pytest.mark.parametrize("size", [65_537, 8_000_000])
async def test_a_frame_over_the_limit_closes_the_socket(api: Api, size: int) -> None:
    """1009, which the client can read though it was still sending; what it acked before counts."""
    alice, bob = await api.register(), await api.register()
    await alice.deliver(bob, b"acked")
    socket = await raw(bob)
    (acked,) = await socket.envelopes(1)
    await socket.send(BINARY, ack_frame(acked.id))
    await socket.send(BINARY, bytes(size))
    assert (await socket.frame()).close_code == 1009
    socket.close()
    await open_after(await bob.connect(), alice, bob)


async def test_fragments_over_the_limit_close_the_socket(api: Api) -> None:
    """The limit holds for a message, however it is cut."""
    socket = await raw(await api.register())
    await socket.send(BINARY, bytes(40_000), final=False)
    await socket.send(0, bytes(40_000))
    assert (await socket.frame()).close_code == 1009


@pytest.mark.parametrize(
    "data",
    [
        b"\xc2\x80\0\0\0\0",
        b"\x83\x80\0\0\0\0",
        b"\x80\x80\0\0\0\0",
        b"\x09\x80\0\0\0\0",
        b"\x89\xfe\0\x80" + bytes(132),
    ],
    ids=["reserved bit", "unknown opcode", "continues nothing", "ping in pieces", "ping too long"],
)
async def test_what_breaks_the_websocket_protocol_closes_the_socket(api: Api, data: bytes) -> None:
    """1002, one close frame, and the end of the connection."""
    socket = await raw(await api.register())
    await socket.send_bytes(data)
    assert (await socket.frame()).close_code == 1002
    socket.end_sending()
    assert await socket.has_ended()


# The end of a socket.


@pytest.mark.parametrize("code", [None, 1000, 1001, 3000, 4999])
async def test_a_close_is_answered_with_its_own_code(api: Api, code: int | None) -> None:
    """The server adds no code of its own, sends one close frame and ends the connection."""
    socket = await raw(await api.register())
    await socket.send(CLOSE, b"" if code is None else code.to_bytes(2, "big"))
    assert (await socket.frame()).close_code == code
    assert await socket.has_ended()


async def test_nothing_is_sent_behind_a_close_frame(start_node: StartNode, connect_api: Connect) -> None:
    """Neither envelopes nor pings nor pongs, though the peer takes its time to answer."""
    api = connect_api(await start_node(ws_ping_interval_secs=0.05, ws_ping_timeout_secs=60))
    alice, bob = await api.register(), await api.register()
    socket = await raw(bob)
    await bob.logout()
    frames = await socket.frames_until(CLOSE)
    assert frames[-1].close_code == 4003
    await socket.send(PING)
    await alice.deliver(bob, b"too late")
    await socket.send(CLOSE)
    assert await socket.has_ended()


async def test_a_logout_closes_the_sockets_of_its_session_alone(api: Api) -> None:
    """4003 "session revoked" to them; those of another login of the account stay."""
    alice, bob = await api.register(), await api.register()
    other = await bob.another_session()
    sockets = [await raw(bob), await raw(bob)]
    kept = await other.connect()
    await bob.logout()
    for socket in sockets:
        goodbye = await socket.frame()
        assert (goodbye.close_code, goodbye.close_reason) == (4003, "session revoked")
    await open_after(kept, alice, other)


async def test_a_takeover_closes_every_socket_of_the_account(api: Api) -> None:
    """4001 "device replaced", the caller's own included; the caller alone comes back, to an empty inbox."""
    alice, bob = await api.register(), await api.register()
    old = await bob.another_session()
    await alice.deliver(bob, b"for the old device")
    sockets = [await raw(bob), await raw(old)]
    answer = await bob.upload(Device().takeover(9, one_time_keys(1, 30)))
    assert answer.status in (200, 204), answer
    for socket in sockets:
        goodbye = (await socket.frames_until(CLOSE))[-1]
        assert (goodbye.close_code, goodbye.close_reason) == (4001, "device replaced")
    assert await old.try_connect() == 401
    await open_after(await bob.connect(), alice, bob)


@pytest.mark.parametrize("end", ["end_sending", "close", "reset"])
async def test_a_socket_that_vanishes_leaves_nothing_behind(api: Api, end: str) -> None:
    """Without a goodbye, by FIN or RST: its place is free again, and no task and no memory of it is left."""

    def left() -> tuple[float, int, int]:
        gc.collect()
        sessions = sum(isinstance(thing, GatewaySocket) for thing in gc.get_objects())
        return metric("obscura_gateway_sockets"), len(asyncio.all_tasks()), sessions

    alice, bob = await api.register(), await api.register()
    before = left()
    sockets = [await raw(bob) for _ in range(5)]
    await alice.deliver(bob, b"hello")
    for socket in sockets:
        await socket.envelopes(1)
        getattr(socket, end)()
    await eventually(lambda: left() <= before)


async def test_a_socket_that_cannot_be_served_is_closed(api: Api, redis_server: RedisServer) -> None:
    """1011, so that its client comes again, rather than a socket that stays open and is deaf."""
    user = await api.register()
    with redis_server.client as client:
        client.set(keyspace.inbox(uuid_of(user)), "not what it should be")
    socket = await raw(user)
    assert (await socket.frame()).close_code == 1011


# Keeping alive.


async def test_a_ping_is_answered_while_a_backlog_is_pushed(api: Api) -> None:
    """The pong does not wait for the backlog, of which most has not been sent when the ping comes."""
    alice, bob = await api.register(), await api.register()
    await alice.deliver(bob, *[bytes(100_000)] * 60)
    socket = await raw(bob, receive_buffer_bytes=65_536)
    await socket.frame()
    await socket.send(PING, b"now")
    frames = await socket.frames_until(PONG)
    assert frames[-1].payload == b"now"
    assert len(frames) < 20
    await socket.envelopes(60 - len(frames))


async def test_a_silent_peer_is_dropped(start_node: StartNode, connect_api: Connect) -> None:
    """One that does not answer a ping within the timeout is cut off, and its place is free."""
    api = connect_api(await start_node(ws_ping_interval_secs=0.1, ws_ping_timeout_secs=0.1))
    user = await api.register()
    before = metric("obscura_gateway_sockets"), metric("obscura_gateway_sockets_closed_total", reason="ping timeout")
    socket = await raw(user)
    assert (await socket.frame()).opcode == PING
    assert await socket.has_ended()
    await eventually(lambda: metric("obscura_gateway_sockets") == before[0])
    assert metric("obscura_gateway_sockets_closed_total", reason="ping timeout") == before[1] + 1


async def test_a_peer_that_answers_pings_stays(start_node: StartNode, connect_api: Connect) -> None:
    """Ping after ping, beyond the timeout."""
    api = connect_api(await start_node(ws_ping_interval_secs=0.05, ws_ping_timeout_secs=1))
    socket = await raw(await api.register())
    for _ in range(3):
        ping = await socket.frame()
        assert ping.opcode == PING
        await socket.send(PONG, ping.payload)


async def test_a_flood_of_tiny_frames_does_not_starve_others(api: Api) -> None:
    """While a client sends empty frames as fast as it can, another gets its messages; the flood is held up."""
    alice, bob, mallory = await api.register(), await api.register(), await api.register()
    socket, flooder = await bob.connect(), await raw(mallory)
    pauses = metric("obscura_gateway_reads_paused_total")
    tiny = frame_bytes(BINARY) * 10_000

    async def flood() -> None:
        while True:
            await flooder.send_bytes(tiny)

    flooding = asyncio.create_task(flood())
    contents = [b"%d" % number for number in range(30)]
    await alice.deliver(bob, *contents)
    assert [envelope.message.content for envelope in await socket.envelopes(30)] == contents
    await eventually(lambda: metric("obscura_gateway_reads_paused_total") > pauses)
    assert not flooding.done()
    flooding.cancel()


async def test_acks_of_made_up_ids_cannot_fill_the_memory(
    start_node: StartNode, own_redis: RedisServer, connect_api: Connect
) -> None:
    """While Redis is away no more is remembered than an inbox holds, and the socket survives to be of use."""
    node = await start_node(redis_url=own_redis.url, max_inbox_size=100, ws_ping_interval_secs=0.2)
    api = connect_api(node)
    alice, bob = await api.register(), await api.register()
    await alice.deliver(bob, b"pending")
    socket = await raw(bob)
    (pending,) = await socket.envelopes(1)
    ids = MessageIds(uuid_of(bob))
    made_up = [frame_bytes(BINARY, ack_frame(ids.encode(EntryId(1, number)).decode())) for number in range(5_000)]
    own_redis.kill()
    acks = node._gateway._context.acks
    sending = asyncio.create_task(socket.send_bytes(b"".join(made_up) + frame_bytes(BINARY, ack_frame(pending.id))))
    await eventually(lambda: len(acks._waiting.get(uuid_of(bob), ())) > 100)
    own_redis.start()
    most = 0

    def all_are_written() -> bool:
        nonlocal most
        most = max(most, len(acks._waiting.get(uuid_of(bob), ())))
        return not inbox_of(own_redis, bob)

    await eventually(all_are_written)
    await sending
    assert most <= 2 * 100 + 1
