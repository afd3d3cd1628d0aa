"""Clients that take nothing, go silent, or flood a node: it stays small, and the others notice nothing."""

import asyncio
import secrets
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from socket import socket as Connection
from typing import TypeVar
from uuid import UUID, uuid4

import aiohttp

from obscura.model.message_ids import EntryId, MessageIds
from obscura.v1.obscura_pb2 import Envelope
from tests.faults import floods
from tests.faults.bystanders import abused
from tests.faults.nodes import ServedNode
from tests.faults.report import Findings
from tests.faults.testbed import Testbed
from tests.faults.websocket import GatewaySocket
from tests.support.client import Api, User, ack_frame
from tests.support.limits import forwarded_for, new_address
from tests.support.proxy import Proxy
from tests.support.raw_socket import BINARY, CLOSE, PING, TEXT, RawSocket, frame_bytes
from tests.support.waiting import eventually

T = TypeVar("T")

_SLACK_SECS = 1.0  # for a machine that does other things too

_STUCK = 20
_SLOW = 5
_QUEUED = 1_000
_LARGE_BYTES = 100_000
_PAGE_BYTES = 262_144  # what of an inbox waits for one socket: a page, and the message with which it is full
_PAGES_UNDER_WAY = 8  # read at a time, in the answer of Redis, as envelopes, and as one piece
_WINDOW_BYTES = 65_536
_WRITE_TIMEOUT_SECS = 2.0

_PING_INTERVAL_SECS = 1.0
_PING_TIMEOUT_SECS = 0.5
_ASLEEP = 10  # persons
_SOCKETS_EACH = 10
_MISSED = 5  # messages for each of them meanwhile

_FLOOD_SECS = 2.0
_MAX_FLOODS = 5
_FRAMES = 5_000
_FRAMES_MB = 20.0  # for what the kernel handed over and nobody has looked at yet
_IDLE = 3_000
_IDLE_KB = 20.0  # of memory for a connection, whatever came on it
_REQUESTS_MB = 20.0


@asynccontextmanager
async def extra_node(testbed: Testbed, **settings: object) -> AsyncIterator[tuple[ServedNode, Api]]:
    """A node to abuse, and calls to it."""
    async with AsyncExitStack() as stack:
        node = await testbed.add_node(**{"access_token_ttl_secs": 900} | settings)
        stack.push_async_callback(node.remove)
        session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
        yield node, Api(await stack.enter_async_context(session), node.port)


# Those that take nothing.


async def readers_stuck(testbed: Testbed, times: int, found: Findings) -> None:
    """1,000 x 100 KB wait for sockets that take nothing, and for some that take little: the former are cut."""
    async with extra_node(testbed, ws_write_timeout_secs=_WRITE_TIMEOUT_SECS) as (node, api):
        for _ in range(times):
            alice, bob = await api.register(), await api.register()
            await fill(alice, bob, _QUEUED, _LARGE_BYTES)
            async with abused(testbed, node, found) as abuse:
                slow = [await _narrow(bob) for _ in range(_SLOW)]
                sipping = [asyncio.create_task(_sip(socket)) for socket in slow]
                stuck = [await _narrow(bob) for _ in range(_STUCK)]
                began = testbed.now
                await eventually(lambda stuck=stuck: all(socket.was_cut for socket in stuck))
                cut_after_secs = testbed.now - began
                found.expect(not any(socket.was_cut for socket in slow), "a slow reader was cut")
                for task in sipping:
                    task.cancel()
                await asyncio.gather(*sipping, return_exceptions=True)
            # Its clock starts anew when it turns out that a socket took something since.
            found.at_most("s until those were cut", cut_after_secs, 2 * _WRITE_TIMEOUT_SECS + _SLACK_SECS)
            bound = (_STUCK + _SLOW) * (_PAGE_BYTES + _LARGE_BYTES) + 3 * _PAGES_UNDER_WAY * _PAGE_BYTES
            found.expect(abuse.growth_bytes < bound, f"{abuse.growth_bytes} bytes for stuck sockets, more than {bound}")
            numbers = [number_of(content) for content in await received(bob, _QUEUED)]
            found.expect(numbers == list(range(_QUEUED)), "not all came, or not in order, to who reads again")


async def _narrow(user: User) -> RawSocket:
    return await RawSocket.open(user.api.port, user.token, receive_buffer_bytes=_WINDOW_BYTES)


async def _sip(socket: RawSocket) -> None:
    while True:
        await socket.read_some(20_000)
        await asyncio.sleep(0.05)


# Those that have gone without a word.


async def peers_half_open(testbed: Testbed, times: int, found: Findings) -> None:
    """Nothing passes any more between some clients and a node: it lets go of them, and they miss nothing."""
    pings = {"ws_ping_interval_secs": _PING_INTERVAL_SECS, "ws_ping_timeout_secs": _PING_TIMEOUT_SECS}
    limit_secs = _PING_INTERVAL_SECS + _PING_TIMEOUT_SECS + _SLACK_SECS
    async with extra_node(testbed, **pings) as (node, api), Proxy(("127.0.0.1", node.port)) as proxy:
        users = [await api.register() for _ in range(_ASLEEP)]
        for _ in range(times):
            async with abused(testbed, node, found):
                reaped_after_secs = await _fall_asleep(testbed, node, proxy, users)
                for user in users:
                    numbers = [number_of(content) for content in await received(user, _MISSED)]
                    found.expect(numbers == list(range(_MISSED)), f"{numbers} came to who was asleep")
            proxy.heal()
            found.at_most("s until half-open sockets were gone", reaped_after_secs, limit_secs)


async def _fall_asleep(testbed: Testbed, node: ServedNode, proxy: Proxy, users: Sequence[User]) -> float:
    """Open sockets, cut them off, and send them messages; returns after how long the node counts them no more."""
    awake = await node.metric("obscura_gateway_sockets")
    for user in users:
        for _ in range(_SOCKETS_EACH):
            await GatewaySocket(lambda *_: False).open(proxy.port, user.token)
    await eventually(lambda: _has_sockets(node, awake + len(users) * _SOCKETS_EACH))
    proxy.cut_off()
    began = testbed.now
    for user in users:
        await user.deliver(user, *(b"%d" % number for number in range(_MISSED)))
    await eventually(lambda: _has_sockets(node, awake))
    return testbed.now - began


async def _has_sockets(node: ServedNode, count: float) -> bool:
    return await node.metric("obscura_gateway_sockets") == count


# Floods.


async def frames_flooded(testbed: Testbed, times: int, found: Findings) -> None:
    """Every kind of frame that means nothing, each from a socket that does nothing else."""
    async with extra_node(testbed, max_inbox_size=1000) as (node, api):  # how many acks may come at once goes by it
        for _ in range(times):
            user = await api.register()
            kinds = _meaningless(user)
            async with abused(testbed, node, found) as abuse:
                taken = await in_threads([partial(_flood, node, user, data) for data in kinds.values()])
            for kind, count in zip(kinds, taken, strict=True):
                found.expect(count > 0, f"nothing was taken of {kind}")
            found.worst("MB of frames", sum(taken) / 1e6)
            found.at_most("MB more for frames", abuse.growth_bytes / 1e6, _FRAMES_MB)


def _flood(node: ServedNode, user: User, data: bytes) -> int:
    return floods.pour(floods.upgraded(node.port, user.token), data, _FLOOD_SECS)


def _meaningless(user: User) -> dict[str, bytes]:
    """Many frames of each kind."""
    ids = MessageIds(UUID(user.id))

    def id_of(number: int) -> str:
        return ids.encode(EntryId(number, 0)).decode()

    frames = {
        "text": lambda _: frame_bytes(TEXT, b"hello"),
        "no protobuf": lambda _: frame_bytes(BINARY, b"\xff" * 20),
        "acks of others' messages": lambda _: frame_bytes(BINARY, ack_frame(str(uuid4()))),
        "acks of made-up messages": lambda number: frame_bytes(BINARY, ack_frame(id_of(number))),
        "pings": lambda number: frame_bytes(PING, b"%d" % number),
        "empty pings": lambda _: frame_bytes(PING),
    }
    return {kind: b"".join(frame(number) for number in range(_FRAMES)) for kind, frame in frames.items()}


async def connects_flooded(testbed: Testbed, times: int, found: Findings) -> None:
    """Thousands of connections on which no request comes, or the half of one, or no second one; more come and go."""
    whole = b"GET /openapi.yaml HTTP/1.1\r\nHost: relay\r\n\r\n"
    beginnings = {"nothing": b"", "half a head": whole[:-2] + b"X-More: ", "one request": whole}
    async with extra_node(testbed) as (node, api):
        for _ in range(times):
            async with abused(testbed, node, found) as abuse:
                idle = await in_threads([partial(_open_many, node.port, words) for words in beginnings.values()])
                grown = abuse.growth_bytes
                await in_threads([partial(_come_and_go, node.port)] * 2)
                answer = await api.call("GET", "/openapi.yaml")
                found.expect(answer.status == 200, f"a newcomer was answered {answer.status}")
            for connections in idle:
                for connection in connections:
                    connection.close()
            found.at_most("KB for an idle connection", grown / 1000 / sum(map(len, idle)), _IDLE_KB)


def _open_many(port: int, words: bytes) -> list[Connection]:
    return [floods.said(port, words) for _ in range(_IDLE // 3)]


def _come_and_go(port: int) -> None:
    for _ in range(_IDLE):
        floods.connected(port).close()


async def requests_flooded(testbed: Testbed, times: int, found: Findings) -> None:
    """What is no HTTP, no JSON, too long or not allowed: refused, again and again."""
    async with extra_node(testbed) as (node, api):
        for _ in range(times):
            user = await api.register()
            requests = _malformed(user)
            async with abused(testbed, node, found) as abuse:
                counts = await in_threads([partial(floods.answers, node.port, requests, _FLOOD_SECS)] * 3)
            statuses = sum(counts, Counter[int]())
            found.worst("malformed requests", sum(statuses.values()))
            found.expect(set(statuses) <= {0, 400, 401, 404, 405, 413, 415}, f"refused with {dict(statuses)}")
            found.at_most("MB more for requests", abuse.growth_bytes / 1e6, _REQUESTS_MB)


def _malformed(user: User) -> Sequence[bytes]:
    head = b"%s HTTP/1.1\r\nHost: relay\r\nAuthorization: Bearer " + user.token.encode() + b"\r\n"
    declared = head + b"Content-Length: %d\r\n\r\n"
    return [
        secrets.token_bytes(200) + b"\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200),  # how TLS begins
        b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\nHost: relay\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: relay\r\nX-Long: " + b"a" * 1_000_000 + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: relay\r\n" + b"X-Many: a\r\n" * 20_000 + b"\r\n",
        declared % (b"POST /v1/users", 8) + b'{"user":',
        declared % (b"POST /v1/sessions", 4) + b"null",
        declared % (b"POST /v1/keys", 10**12),
        declared % (f"POST /v1/messages/{user.id}".encode(), 5) + b"\xff" * 5,
        declared % (b"DELETE /v1/messages/nobody", 0),
        declared % (b"GET /v1/nothing", 0),
        head % b"POST /v1/sessions" + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
    ]


async def limits_met(testbed: Testbed, times: int, found: Findings) -> None:
    """More requests and sockets than a node allows: 429 and 1013, and only for those who are over the limit."""
    limits = {"rate_limit_per_second": 200, "rate_limit_burst": 200}  # twice what the bystanders send
    sockets = {"max_sockets_per_address": 50, "max_sockets": 150}
    async with extra_node(testbed, **limits, **sockets) as (node, api):
        for _ in range(times):
            user, address, other = await api.register(), new_address(), new_address()
            request = f"GET /openapi.yaml HTTP/1.1\r\nHost: relay\r\nX-Forwarded-For: {address}\r\n\r\n".encode()
            async with abused(testbed, node, found) as abuse:
                statuses = await _flood_until_refused(node.port, request)
                opened = [await _open_from(user, other) for _ in range(2 * sockets["max_sockets_per_address"])]
                spread = [await _open_from(user, new_address()) for _ in range(sockets["max_sockets"])]
                told = await asyncio.gather(*map(_is_told_to_try_later, spread))
            found.worst("requests over the limit", statuses[429])
            found.expect(set(statuses) == {200, 429}, f"answered {dict(statuses)}")
            by_status = Counter(socket.status for socket in opened)
            wanted = sockets["max_sockets_per_address"]
            found.expect(by_status == {101: wanted, 429: wanted}, f"sockets of one address: {by_status}")
            over = len(abuse.crowd.people) + wanted
            found.expect(sum(told) == over, f"1013 for {sum(told)} sockets, not {over}")
            for socket in (*opened, *spread):
                socket.close()


async def _flood_until_refused(port: int, request: bytes) -> Counter[int]:
    """Flood in rounds: a busy machine may take several to be faster than the limit."""
    statuses: Counter[int] = Counter()
    for _ in range(_MAX_FLOODS):
        statuses += sum(await in_threads([partial(floods.answers, port, [request], _FLOOD_SECS)] * 3), Counter())
        if statuses[429]:
            break
    return statuses


async def _open_from(user: User, address: str) -> RawSocket:
    socket = await RawSocket.connect(user.api.port)
    await socket.ask_for_upgrade(f"/v1/gateway?token={user.token}", forwarded_for(address))
    return socket


async def _is_told_to_try_later(socket: RawSocket) -> bool:
    """Whether a socket is closed at once with 1013; one that is let in gets a pong instead."""
    await socket.send(PING, b"let in?")
    frame = await socket.frame()
    return frame.opcode == CLOSE and frame.close_code == 1013


# What several of them need.


async def in_threads(calls: Sequence[Callable[[], T]]) -> list[T]:
    """Make calls that block, all at once."""
    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(len(calls)) as threads:
        return list(await asyncio.gather(*(loop.run_in_executor(threads, call) for call in calls)))


async def fill(sender: User, recipient: User, count: int, size_bytes: int) -> None:
    """Store large messages, numbered, in order."""
    padding = bytes(size_bytes)
    for number in range(count):
        await sender.deliver(recipient, b"%d " % number + padding)


def number_of(content: bytes) -> int:
    return int(content.partition(b" ")[0])


async def received(user: User, count: int) -> list[bytes]:
    """What waits for somebody: so many contents at least, which are acked."""
    contents: list[bytes] = []

    def take(_socket: GatewaySocket, envelope: Envelope) -> bool:
        contents.append(envelope.message.content)
        return True

    socket = GatewaySocket(take)
    await socket.open(user.api.port, user.token)
    await eventually(lambda: len(contents) >= count)
    await socket.close()
    return contents
