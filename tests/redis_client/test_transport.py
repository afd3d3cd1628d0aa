"""One connection: bytes out, replies in; first its opener's, then its user's."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import hiredis
import pytest

from obscura.errors import StoreUnavailable
from obscura.redis_client.transport import RedisTransport
from tests.support.waiting import eventually

pytestmark = pytest.mark.libraries


class Peer:
    """Whoever is at the other end; the test says what is written there."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def reads(self, data: bytes) -> None:
        assert await self.reader.readexactly(len(data)) == data

    async def leaves(self) -> None:
        self.writer.close()
        await self.writer.wait_closed()


@pytest.fixture
def peer() -> Peer:
    return Peer()


@pytest.fixture
async def transport(peer: Peer) -> AsyncIterator[RedisTransport]:
    connected = asyncio.Event()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer.reader, peer.writer = reader, writer
        connected.set()

    transport = RedisTransport("the server")
    async with await asyncio.start_server(accept, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        await asyncio.get_running_loop().create_connection(lambda: transport, "127.0.0.1", port)
        await connected.wait()
        yield transport
        transport.close()
        await peer.leaves()


async def test_commands_are_answered_one_at_a_time(transport: RedisTransport, peer: Peer) -> None:
    """Parsed, and a refusal is raised."""
    peer.writer.write(b"*2\r\n$1\r\na\r\n:7\r\n")
    assert await transport.ask("ONE", b"\x00", 2) == [b"a", 7]
    await peer.reads(b"*3\r\n$3\r\nONE\r\n$1\r\n\x00\r\n$1\r\n2\r\n")
    peer.writer.write(b"-ERR no\r\n+later\r\n")
    with pytest.raises(hiredis.ReplyError, match="ERR no"):
        await transport.ask("TWO")
    assert await transport.ask("THREE") == b"later"


async def test_an_opener_is_told_what_became_of_the_connection(transport: RedisTransport, peer: Peer) -> None:
    """After what was said before; then nothing is sent to it."""
    peer.writer.write(b"-ERR max number of clients reached\r\n")
    await peer.leaves()
    with pytest.raises(hiredis.ReplyError, match="max number of clients"):
        await transport.ask("PING")
    with pytest.raises(ConnectionError, match=r"Connection closed by server\."):
        await transport.ask("PING")
    with pytest.raises(StoreUnavailable, match="Redis hung up at once"):
        transport.attach(lambda _: None, lambda: None)


async def test_an_opener_is_told_of_another_protocol(transport: RedisTransport, peer: Peer) -> None:
    """As of a web server; the connection is over."""
    peer.writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    with pytest.raises(hiredis.ProtocolError, match='got "H"'):
        await transport.ask("PING")
    await eventually(lambda: transport.is_closing)


class User:
    """What its user is told."""

    def __init__(self) -> None:
        self.replies: list[Any] = []
        self.losses = 0

    def on_lost(self) -> None:
        self.losses += 1


@pytest.fixture
def user(transport: RedisTransport) -> User:
    user = User()
    transport.attach(user.replies.append, user.on_lost)
    return user


async def test_what_is_sent_in_one_tick_leaves_in_one_write(transport: RedisTransport, peer: Peer, user: User) -> None:
    """In its order; replies come to the user in theirs, however they are cut."""
    for number in range(3):
        transport.send("N", number)
    packet = await peer.reader.read(1_000)
    assert packet == b"".join(b"*2\r\n$1\r\nN\r\n$1\r\n%d\r\n" % number for number in range(3))
    for piece in (b":0\r", b"\n:1\r\n-ERR", b" no\r\n"):
        peer.writer.write(piece)
        await peer.writer.drain()
        await asyncio.sleep(0)
    await eventually(lambda: len(user.replies) == 3)
    assert user.replies[:2] == [0, 1]
    assert isinstance(user.replies[2], hiredis.ReplyError)


async def leave(peer: Peer, _: RedisTransport) -> None:
    await peer.leaves()


async def speak_http(peer: Peer, _: RedisTransport) -> None:
    peer.writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")


async def close_twice(_: Peer, transport: RedisTransport) -> None:
    transport.close()
    transport.close()


@pytest.mark.parametrize("end", [leave, speak_http, close_twice])
async def test_a_loss_is_told_once(
    transport: RedisTransport, peer: Peer, user: User, end: Callable[[Peer, RedisTransport], Any]
) -> None:
    """Whoever ended it; sending then does nothing."""
    await end(peer, transport)
    await eventually(lambda: user.losses)
    transport.send("PING")
    await asyncio.sleep(0)
    assert (user.losses, transport.unsent_bytes, transport.is_closing) == (1, 0, True)
