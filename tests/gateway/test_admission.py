"""Who is let in, on one node: what is refused before the upgrade, and what is told to try later."""

import asyncio
import time
from uuid import UUID, uuid4

import jwt
import pytest

from obscura.node.node import Node
from obscura.store import keyspace
from obscura.tasks import end_tasks
from tests.conftest import JWT_SECRET, StartNode
from tests.gateway.sockets import Connect, open_after, raw
from tests.support.client import Api, Socket, ack_frame
from tests.support.inspection import inbox_of, uuid_of
from tests.support.raw_socket import BINARY, CLOSE, PING, PONG, RawSocket, frame_bytes
from tests.support.redis import RedisServer
from tests.support.waiting import eventually


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

    async def access_token_works() -> bool:
        return isinstance(await user.try_connect(), Socket)

    await eventually(access_token_works)


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


async def test_over_the_limit_of_an_account_the_socket_silent_for_longest_is_closed(
    start_node: StartNode, connect_api: Connect
) -> None:
    """With 4002. The new one is let in at once, those that were heard since are served, and others notice nothing."""
    api = connect_api(await start_node(max_sockets_per_account=3))
    alice, bob = await api.register(), await api.register()
    first, silent, third = [await raw(bob) for _ in range(3)]
    bystander = await alice.connect()
    for heard in (third, first):
        await heard.send(PING)
        await heard.frames_until(PONG)
    newest = await raw(bob)
    goodbye = await silent.frame()
    assert (goodbye.close_code, goodbye.close_reason) == (4002, "newer socket")
    await alice.deliver(bob, b"still there")
    for served in (first, third, newest):
        assert [envelope.message.content for envelope in await served.envelopes(1)] == [b"still there"]
    await open_after(bystander, bob, alice)


async def test_a_client_that_leaves_sockets_behind_is_never_kept_out(
    start_node: StartNode, connect_api: Connect
) -> None:
    """However fast it comes again; no more than are allowed are served, and the others are gone in seconds."""
    node = await start_node(max_sockets_per_account=4)
    alice, bob = await connect_api(node).register(), await connect_api(node).register()
    left_behind = []
    for number in range(1, 21):
        left_behind.append(await raw(bob))
        listed = node._gateway._hub.listeners_of(uuid_of(bob))
        assert sum(not socket.is_closing for socket in listed) == min(number, 4)
    newest = await bob.connect()
    await open_after(newest, alice, bob)
    await eventually(lambda: len(node._gateway._hub.listeners_of(uuid_of(bob))) == 4)


async def test_of_many_sockets_of_an_account_that_come_at_once_as_many_stay_as_are_allowed(
    start_node: StartNode, connect_api: Connect
) -> None:
    """All are let in, and the others are closed again."""
    node = await start_node(max_sockets_per_account=3)
    bob = await connect_api(node).register()
    sockets = await asyncio.gather(*(bob.connect() for _ in range(12)))
    goodbyes = [asyncio.create_task(socket.close_code()) for socket in sockets]
    await eventually(lambda: len(node._gateway._hub.listeners_of(uuid_of(bob))) == 3)
    await eventually(lambda: sum(goodbye.done() for goodbye in goodbyes) == 9)
    assert {goodbye.result() for goodbye in goodbyes if goodbye.done()} == {4002}
    await end_tasks(*goodbyes)


async def test_frames_sent_along_with_the_handshake_count(api: Api, redis_server: RedisServer) -> None:
    """A client need not wait for the 101 before it acks what it got on an earlier connection."""
    alice, bob = await api.register(), await api.register()
    await alice.deliver(bob, b"acked")
    (acked,) = await (await raw(bob)).envelopes(1)
    socket = await RawSocket.connect(api.port)
    early = frame_bytes(BINARY, ack_frame(acked.id))
    await socket.ask_for_upgrade(f"/v1/gateway?token={bob.token}", and_then=early)
    await eventually(lambda: not inbox_of(redis_server, bob))
