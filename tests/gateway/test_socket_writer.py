"""Slow readers: what they cost, what they get, and that they delay nobody."""

import asyncio
import os
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from obscura.v1.obscura_pb2 import WebSocketFrame
from tests.conftest import JWT_SECRET, StartNode
from tests.gateway.sockets import Connect
from tests.support.client import Api, User, ack_frame
from tests.support.node_process import NodeProcess, serve
from tests.support.raw_socket import BINARY, CLOSE, PING, PONG, RawSocket
from tests.support.redis import RedisServer
from tests.support.waiting import eventually

pytestmark = pytest.mark.libraries

LARGE = bytes(100_000)
WINDOW_BYTES = 65_536  # of a slow client's kernel


async def slow(user: User) -> RawSocket:
    """A socket of a client that has not read anything yet."""
    return await RawSocket.open(user.api.port, user.token, receive_buffer_bytes=WINDOW_BYTES)


async def until_stuck(socket: RawSocket) -> None:
    """Wait until the server has written all that such a client takes, and holds more."""
    await eventually(lambda: socket.unread_bytes > WINDOW_BYTES // 4)


async def fill(sender: User, recipient: User, count: int) -> list[bytes]:
    """Store large messages; returns their contents in order."""
    contents = [b"%d " % number + LARGE for number in range(count)]
    await sender.deliver(recipient, *contents)
    return contents


@pytest.fixture
async def served(redis_server: RedisServer, tmp_path: Path) -> AsyncIterator[NodeProcess]:
    """A node in a process of its own, to watch its memory."""
    async with serve(tmp_path, redis_server.url, JWT_SECRET) as served:
        yield served


@pytest.mark.real_start
async def test_clients_that_read_nothing_cost_a_bounded_amount_of_memory(
    served: NodeProcess, session: aiohttp.ClientSession
) -> None:
    """Ten of them with 200 x 100 KB pending each, 200 MB in all: the process grows by a tenth of that at most."""
    api = Api(session, served.api_port)
    alice, bob, carol = await api.register(), await api.register(), await api.register()
    await fill(alice, bob, 200)
    await (await slow(bob)).envelopes(200)  # what one fast pass costs is not the slow ones' doing
    before = served.resident_bytes
    sockets = [await slow(bob) for _ in range(10)]
    for socket in sockets:
        await until_stuck(socket)
    await alice.deliver(bob, *[b"live"] * 20, LARGE)
    live = await carol.connect()
    await alice.deliver(carol, b"everything pushed before this was pushed")
    await live.envelope()
    print(served.resident_bytes - before)
    assert served.resident_bytes - before < 20_000_000
    assert len(await sockets[0].envelopes(221)) == 221


async def test_a_slow_reader_is_fed_on_when_it_reads_again(api: Api) -> None:
    """Pending and live messages, large and small: nothing lost, doubled or out of order."""
    alice, bob = await api.register(), await api.register()
    contents = await fill(alice, bob, 100)
    socket = await slow(bob)
    received = [envelope.message.content for envelope in await socket.envelopes(3)]
    await until_stuck(socket)
    small = [b"small %d" % number for number in range(100)]
    await alice.deliver(bob, *small, LARGE, *small)
    contents += [*small, LARGE, *small]
    received += [envelope.message.content for envelope in await socket.envelopes(len(contents) - 3)]
    assert received == contents
    await alice.deliver(bob, b"the end")
    assert [envelope.message.content for envelope in await socket.envelopes(1)] == [b"the end"]


async def test_a_stuck_reader_delays_nobody(api: Api) -> None:
    """While it takes nothing, others get theirs, and so does another socket of the same user."""
    alice, bob, carol = await api.register(), await api.register(), await api.register()
    contents = await fill(alice, bob, 60)
    stuck, quick, other = await slow(bob), await bob.connect(), await carol.connect()
    await until_stuck(stuck)
    await alice.deliver(carol, b"hello")
    assert (await other.envelope()).message.content == b"hello"
    assert [envelope.message.content for envelope in await quick.envelopes(60)] == contents
    await alice.deliver(bob, b"live")
    assert (await quick.envelope()).message.content == b"live"


async def test_acks_of_a_stuck_reader_count(api: Api) -> None:
    """What it acks while it takes nothing is removed, and does not come again."""
    alice, bob = await api.register(), await api.register()
    contents = await fill(alice, bob, 60)
    stuck = await slow(bob)
    (first,) = await stuck.envelopes(1)
    await until_stuck(stuck)
    await stuck.send(BINARY, ack_frame(first.id))
    quick = await bob.connect()

    async def is_removed() -> bool:
        socket = await bob.connect()
        content = (await socket.envelope()).message.content
        await socket.close()
        return content == contents[1]

    await quick.close()
    await eventually(is_removed)


async def test_pings_of_a_stuck_reader_are_answered(api: Api) -> None:
    """The pong comes behind what was written before, not behind the rest of the inbox; and a flood gets few."""
    alice, bob = await api.register(), await api.register()
    await fill(alice, bob, 60)
    stuck = await slow(bob)
    await until_stuck(stuck)
    for number in range(500):
        await stuck.send(PING, b"%d" % number)
    frames = await stuck.frames_until(PONG)
    assert len(frames) < 20
    assert frames[-1].payload == b"0"
    pongs = 1
    while len(frames) < 60 + pongs:
        frames.append(await stuck.frame())
        pongs += frames[-1].opcode == PONG
    assert pongs < 500


class SlowLine:
    """What a client reads that is behind a line of so many bytes a second.

    Its kernel takes 64 KiB ahead of the line, for which nothing that the server does can make up.
    """

    KERNEL_BYTES = 32_768  # Linux doubles it

    def __init__(self, socket: RawSocket, bytes_per_sec: int) -> None:
        self.socket = socket
        socket.receive_bytes = 4096
        self._bytes_per_sec = bytes_per_sec
        self._loop = asyncio.get_running_loop()
        self._began = self._loop.time()
        self._read = 0

    @classmethod
    async def open(cls, user: User, bytes_per_sec: int) -> "SlowLine":
        socket = await RawSocket.open(user.api.port, user.token, receive_buffer_bytes=cls.KERNEL_BYTES)
        return cls(socket, bytes_per_sec)

    async def fragment(self) -> tuple[int, bytes]:
        """First byte and payload of the next frame as it is on the line."""
        first, payload = await self.socket.raw_frame()
        self._read += len(payload)
        await asyncio.sleep(self._began + self._read / self._bytes_per_sec - self._loop.time())
        return first, payload


@pytest.mark.filterwarnings("ignore:Sending a large body")
async def test_a_pong_does_not_wait_for_a_large_message(api: Api) -> None:
    """At 40 KB/s it comes within 3 s, amid the largest message there can be, and then the rest of the message."""
    alice, bob = await api.register(), await api.register()
    content = os.urandom(1_000_000)
    await alice.deliver(bob, content)
    line = await SlowLine.open(bob, 40_000)
    fragments = [await line.fragment()]
    pinged = asyncio.get_running_loop().time()
    await line.socket.send(PING, b"still there?")
    while (fragment := await line.fragment())[0] & 0x0F != PONG:
        fragments.append(fragment)
    assert asyncio.get_running_loop().time() - pinged < 3
    assert fragment[1] == b"still there?"
    assert not any(first & 0x80 for first, _ in fragments)
    while not fragments[-1][0] & 0x80:
        fragments.append(await line.socket.raw_frame())
    assert [first & 0x0F for first, _ in fragments] == [BINARY] + [0] * (len(fragments) - 1)
    message = WebSocketFrame.FromString(b"".join(payload for _, payload in fragments))
    assert message.envelope.message.content == content


async def test_a_pong_does_not_wait_for_a_page_of_small_messages(api: Api) -> None:
    """Nor for what is pushed live and as large as an event can carry."""
    alice, bob = await api.register(), await api.register()
    contents = [b"%d " % number + bytes(5_000) for number in range(60)]
    await alice.deliver(bob, *contents)
    line = await SlowLine.open(bob, 40_000)
    await line.fragment()
    live = [b"live %d " % number + bytes(15_000) for number in range(20)]
    await alice.deliver(bob, *live)
    pinged = asyncio.get_running_loop().time()
    await line.socket.send(PING)
    while (await line.fragment())[0] & 0x0F != PONG:
        pass
    assert asyncio.get_running_loop().time() - pinged < 3


async def test_a_close_frame_does_not_wait_for_a_large_message(api: Api) -> None:
    """Nothing of the message follows it."""
    alice, bob = await api.register(), await api.register()
    await alice.deliver(bob, bytes(1_000_000))
    socket = await slow(bob)
    await until_stuck(socket)
    await bob.logout()
    sizes = 0
    while (frame := await socket.raw_frame())[0] & 0x0F != CLOSE:
        sizes += len(frame[1])
    assert sizes < 500_000
    assert await socket.has_ended()


async def test_pre_keys_that_become_low_amid_a_large_message_are_told_behind_it(
    start_node: StartNode, connect_api: Connect
) -> None:
    """Only control frames may come between the fragments of a message."""
    api = connect_api(await start_node(pre_key_refill_threshold=5))
    alice, bob = await api.register(), await api.register(pre_keys=5)
    content = bytes(1_000_000)
    await alice.deliver(bob, content)
    socket = await slow(bob)
    await until_stuck(socket)
    await alice.bundle_of(bob)
    assert (await socket.frame()).envelope.message.content == content
    status = WebSocketFrame.FromString((await socket.frame()).payload).pre_key_status
    assert (status.one_time_pre_key_count, status.min_threshold) == (4, 5)


@pytest.fixture(params=["asyncio", "uvloop"])
async def impatient_api(
    request: pytest.FixtureRequest,
    start_node: StartNode,
    redis_server: RedisServer,
    tmp_path: Path,
    session: aiohttp.ClientSession,
) -> AsyncIterator[Api]:
    """A node with a short write timeout, on either event loop: their transports differ."""
    if request.param == "asyncio":
        yield Api(session, (await start_node(ws_write_timeout_secs=0.3)).api_port)
    else:
        async with serve(tmp_path, redis_server.url, JWT_SECRET, ws_write_timeout_secs=0.3) as served:
            yield Api(session, served.api_port)


async def test_a_reader_that_takes_nothing_for_the_write_timeout_is_cut_off(impatient_api: Api) -> None:
    """Without a closing handshake, which it would not take either; its messages stay for the next connection."""
    alice, bob = await impatient_api.register(), await impatient_api.register()
    contents = await fill(alice, bob, 60)
    socket = await slow(bob)
    await eventually(lambda: socket.was_cut)
    assert [envelope.message.content for envelope in await (await slow(bob)).envelopes(60)] == contents


async def test_a_reader_that_says_goodbye_and_takes_nothing_is_cut_off(impatient_api: Api) -> None:
    """Its close frame is no way to have the server hold what waits for ever; nor is half a close."""
    alice, bob = await impatient_api.register(), await impatient_api.register()
    await fill(alice, bob, 60)
    polite, half_closed, broken = await slow(bob), await slow(bob), await slow(bob)
    for socket in (polite, half_closed, broken):
        await until_stuck(socket)
    await polite.send(CLOSE)
    half_closed.end_sending()
    await broken.send_bytes(b"\xff" * 10)
    for socket in (polite, half_closed, broken):
        await eventually(lambda socket=socket: socket.was_cut)


async def test_a_reader_that_takes_a_little_at_a_time_stays(start_node: StartNode, connect_api: Connect) -> None:
    """The write timeout is for those that take nothing, not for a slow line."""
    api = connect_api(await start_node(ws_write_timeout_secs=1))
    alice, bob = await api.register(), await api.register()
    await fill(alice, bob, 60)
    socket = await slow(bob)
    clock = asyncio.get_running_loop().time
    started = clock()
    for step in range(36):
        await eventually(lambda step=step: clock() > started + step * 0.05 and socket.unread_bytes)
        await socket.read_some(min(10_000, socket.unread_bytes))
    assert not socket.was_cut


async def test_a_stuck_reader_is_told_goodbye_and_cut_off(api: Api) -> None:
    """A logout does not wait for it to read: its place is free after the time for the closing handshake."""
    alice, bob = await api.register(), await api.register()
    await fill(alice, bob, 60)
    socket = await slow(bob)
    await until_stuck(socket)
    await bob.logout()
    await eventually(lambda: socket.was_cut)
