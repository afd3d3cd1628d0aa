"""The end of a node, and the acks sent just before the end of a socket or of the node."""

import asyncio
import os
import signal
from collections.abc import Callable
from pathlib import Path
from socket import create_connection

import aiohttp
import pytest

from obscura.model.message_ids import MessageIds
from obscura.node.node import Node
from tests.conftest import JWT_SECRET, StartNode
from tests.support.client import Api, User, ack_frame
from tests.support.inspection import inbox_of, uuid_of
from tests.support.node_process import serve
from tests.support.proxy import Proxy
from tests.support.raw_socket import BINARY, CLOSE, PING, PONG, RawSocket, frame_bytes
from tests.support.redis import RedisServer
from tests.support.waiting import eventually

Connect = Callable[[Node], Api]

# Acks are written neither by count nor by interval: what is written is so because of the end.
LAZY = {"ws_ack_batch_size": 10_000, "ws_ack_flush_interval_ms": 3_600_000}


async def raw(user: User) -> RawSocket:
    return await RawSocket.open(user.api.port, user.token)


async def deliver_many(sender: User, recipient: User, count: int) -> None:
    for _ in range(count // 50):
        await asyncio.gather(*(sender.deliver(recipient, b"message") for _ in range(50)))


async def acks_of_all(socket: RawSocket, count: int) -> bytes:
    """The frames that ack a socket's first messages."""
    return b"".join(frame_bytes(BINARY, ack_frame(envelope.id)) for envelope in await socket.envelopes(count))


async def test_a_stop_says_goodbye_to_every_socket(node: Node, api: Api) -> None:
    """1001 "Server shutting down" to each, also to those that just came."""
    alice, bob = await api.register(), await api.register()
    sockets = [await raw(alice), await raw(alice), await raw(bob)]
    stopping = asyncio.create_task(node.stop())
    for socket in sockets:
        goodbye = await socket.frame()
        assert (goodbye.close_code, goodbye.close_reason) == (1001, "Server shutting down")
        await socket.send(CLOSE, goodbye.payload)
        assert await socket.has_ended()
    await stopping


async def test_who_has_knocked_is_let_in(node: Node, api: Api) -> None:
    """A connection that nobody has accepted when the stop begins is served, not reset."""
    with create_connection(("127.0.0.1", api.port)) as connection:  # blocks the loop: nobody accepts
        connection.sendall(b"GET /openapi.yaml HTTP/1.1\r\nHost: relay\r\n\r\n")
        stopping = asyncio.create_task(node.stop())
        answer = await asyncio.to_thread(connection.recv, 100)
        assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
        await stopping


async def test_a_node_that_leaves_lets_nobody_in(node: Node, api: Api) -> None:
    """503 for a socket on a connection from before, while the last sockets say goodbye."""
    user = await api.register()
    socket, early = await raw(user), await RawSocket.connect(api.port)
    stopping = asyncio.create_task(node.stop())
    await socket.frame()
    await early.ask_for_upgrade(f"/v1/gateway?token={user.token}")
    assert early.status == 503
    await stopping


async def test_who_is_still_there_while_a_node_drains_is_served(start_node: StartNode, connect_api: Connect) -> None:
    """Messages arrive at sockets whose turn has not come; requests are answered, and told to go elsewhere next."""
    node = await start_node(drain_secs=2)
    api, management = connect_api(node), connect_api(node)
    management.port = node.management_port
    users = [await api.register() for _ in range(8)]
    sockets = [await raw(user) for user in users]
    stopping = asyncio.create_task(node.stop())
    goodbyes = [asyncio.create_task(socket.frames_until(CLOSE)) for socket in sockets]
    await asyncio.wait(goodbyes, return_when=asyncio.FIRST_COMPLETED)

    answers = [await users[0].send(user, b"late") for user in users]
    assert {(answer.status, answer.headers["Connection"]) for answer in answers} == {(201, "close")}
    assert (await management.call("GET", "/readyz")).json["status"] == "draining"
    with create_connection(("127.0.0.1", api.port)):
        pass  # new connections are taken
    frames = await asyncio.gather(*goodbyes)
    assert {(one[-1].close_code, one[-1].close_reason) for one in frames} == {(1001, "Server shutting down")}
    late = [frame.envelope.message.content for one in frames for frame in one if frame.opcode == BINARY]
    assert late
    assert set(late) == {b"late"}
    for socket in sockets:
        await socket.send(CLOSE)
    await stopping


async def test_a_node_that_drains_sends_new_sockets_elsewhere(start_node: StartNode, connect_api: Connect) -> None:
    """503 with a Retry-After, on a new connection too."""
    node = await start_node(drain_secs=1)
    api = connect_api(node)
    user = await api.register()
    stopping = asyncio.create_task(node.stop())
    await asyncio.sleep(0)
    newcomer = await RawSocket.connect(api.port)
    await newcomer.ask_for_upgrade(f"/v1/gateway?token={user.token}")
    assert (newcomer.status, newcomer.headers["retry-after"]) == (503, "1")
    await stopping


async def test_acks_sent_while_a_node_drains_are_written(
    start_node: StartNode, connect_api: Connect, redis_server: RedisServer
) -> None:
    """What a socket acked until its turn does not come again at the next node."""
    node = await start_node(drain_secs=1, **LAZY)
    api = connect_api(node)
    alice, bob = await api.register(), await api.register()
    await alice.deliver(bob, b"1", b"2")
    socket = await bob.connect()
    envelopes = await socket.envelopes(2)
    stopping = asyncio.create_task(node.stop())
    await socket.ack(*envelopes)
    assert await socket.close_code() == 1001
    assert not inbox_of(redis_server, bob)
    await stopping


async def test_what_was_acked_is_written_before_the_goodbye(
    start_node: StartNode, connect_api: Connect, redis_server: RedisServer
) -> None:
    """Who is told to leave may be at another node at once, and gets nothing that it had acked."""
    async with Proxy(redis_server.path) as proxy:
        node = await start_node(redis_url=proxy.redis_url, **LAZY)
        api = connect_api(node)
        alice, bob = await api.register(), await api.register()
        await alice.deliver(bob, b"1", b"2")
        socket = await bob.connect()
        await socket.ack(*await socket.envelopes(2))
        await alice.deliver(bob, b"3")
        third = await socket.envelope()
        proxy.delay_secs = 0.05
        stopping = asyncio.create_task(node.stop())
        assert await socket.close_code() == 1001
        ids = MessageIds(uuid_of(bob))
        assert [ids.encode(entry).decode() for entry in inbox_of(redis_server, bob)] == [third.id]
        proxy.delay_secs = 0
        await stopping


async def test_a_peer_that_ignores_the_goodbye_costs_nobody_an_ack(
    start_node: StartNode, connect_api: Connect, redis_server: RedisServer
) -> None:
    """The stop ends all the same, and what others and it itself acked meanwhile is written."""
    node = await start_node(shutdown_timeout_secs=1, **LAZY)
    api = connect_api(node)
    alice, bob, carol = await api.register(), await api.register(), await api.register()
    await alice.deliver(bob, b"1")
    await alice.deliver(carol, b"1")
    polite, rude = await raw(bob), await raw(carol)
    acks = [await acks_of_all(polite, 1), await acks_of_all(rude, 1)]
    stopping = asyncio.create_task(node.stop())
    for socket, ack in zip((polite, rude), acks, strict=True):
        assert (await socket.frame()).close_code == 1001
        await socket.send_bytes(ack)
    await polite.send(CLOSE)
    await stopping
    assert not inbox_of(redis_server, bob)
    assert not inbox_of(redis_server, carol)


async def test_the_goodbye_does_not_wait_for_a_redis_that_hangs(
    start_node: StartNode, connect_api: Connect, own_redis: RedisServer
) -> None:
    """1001 to a socket whose acks cannot be written, and an end of the node all the same."""
    node = await start_node(redis_url=own_redis.url, shutdown_timeout_secs=2, **LAZY)
    api = connect_api(node)
    alice, bob = await api.register(), await api.register()
    await alice.deliver(bob, b"1")
    socket = await raw(bob)
    await socket.send_bytes(await acks_of_all(socket, 1))
    await socket.send(PING)
    await socket.frames_until(PONG)
    assert own_redis.process is not None
    own_redis.process.send_signal(signal.SIGSTOP)
    try:
        stopping = asyncio.create_task(node.stop())
        assert (await socket.frame()).close_code == 1001
        await stopping
    finally:
        own_redis.process.send_signal(signal.SIGCONT)


@pytest.mark.parametrize(
    ("end", "delay_secs"),
    [("close frame", 0), ("close", 0), ("close", 0.2), ("reset", 0), ("reset", 0.2), ("stop", 0), ("stop", 0.2)],
)
async def test_a_thousand_acks_sent_just_before_the_end_are_applied(
    start_node: StartNode, connect_api: Connect, redis_server: RedisServer, end: str, delay_secs: float
) -> None:
    """Whether the client says goodbye, goes, resets, or the node stops: none of them comes again."""
    async with Proxy(redis_server.path) as proxy:
        node = await start_node(redis_url=proxy.redis_url, shutdown_timeout_secs=10, **LAZY)
        api = connect_api(node)
        alice, bob = await api.register(), await api.register()
        await deliver_many(alice, bob, 1000)
        socket = await raw(bob)
        acks = await acks_of_all(socket, 1000)
        proxy.delay_secs = delay_secs
        if end == "stop":
            await socket.send_bytes(acks)
            stopping = asyncio.create_task(node.stop())
            await socket.frames_until(CLOSE)
            await socket.send(CLOSE)
            await stopping
        elif end == "close frame":
            await socket.send_bytes(acks + frame_bytes(CLOSE))
        else:
            await socket.send_bytes(acks)
            getattr(socket, end)()
        await eventually(lambda: not inbox_of(redis_server, bob))
        proxy.delay_secs = 0
        await node.stop()


async def test_a_thousand_acks_sent_just_before_sigterm_are_applied(
    redis_server: RedisServer, tmp_path: Path, session: aiohttp.ClientSession
) -> None:
    """A process of its own, on uvloop: it says goodbye, writes them and ends with exit code 0."""
    async with serve(tmp_path, redis_server.url, JWT_SECRET, **LAZY) as served:
        api = Api(session, served.api_port)
        alice, bob = await api.register(), await api.register()
        await deliver_many(alice, bob, 1000)
        socket = await raw(bob)
        await socket.send_bytes(await acks_of_all(socket, 1000))
        served.terminate()
        assert (await socket.frames_until(CLOSE))[-1].close_code == 1001
        await socket.send(CLOSE)
        assert await served.exit_code() == 0
    assert not inbox_of(redis_server, bob)


@pytest.mark.parametrize("workers", [1, 2])
async def test_sighup_costs_no_ack(
    redis_server: RedisServer, tmp_path: Path, session: aiohttp.ClientSession, workers: int
) -> None:
    """Of 40 messages that were acked none comes again, and the socket stays open: a terminal that goes is no end."""
    async with serve(tmp_path, redis_server.url, JWT_SECRET, workers=workers, **LAZY) as served:
        api = Api(session, served.api_port)
        alice, bob = await api.register(), await api.register()
        await asyncio.gather(*(alice.deliver(bob, b"message") for _ in range(40)))
        socket = await raw(bob)
        acks = await acks_of_all(socket, 40)
        os.kill(served.pid, signal.SIGHUP)
        await socket.send_bytes(acks)
        await socket.send(PING)
        assert [frame.opcode for frame in await socket.frames_until(PONG)][-1] == PONG
        served.terminate()
        assert (await socket.frames_until(CLOSE))[-1].close_code == 1001
        await socket.send(CLOSE)
        assert await served.exit_code() == 0
    assert not inbox_of(redis_server, bob)


async def test_acks_wait_for_a_redis_that_is_away(
    start_node: StartNode, connect_api: Connect, own_redis: RedisServer
) -> None:
    """The socket that sent them may be gone by the time they can be written."""
    api = connect_api(await start_node(redis_url=own_redis.url))
    alice, bob = await api.register(), await api.register()
    await deliver_many(alice, bob, 50)
    socket = await raw(bob)
    acks = await acks_of_all(socket, 50)
    own_redis.kill()
    await socket.send_bytes(acks)
    socket.close()
    own_redis.start()
    await eventually(lambda: not inbox_of(own_redis, bob))
