"""The client's WebSocket: frames out, messages in."""

import asyncio
import base64
from hashlib import sha1

import pytest

from obscura.client.errors import ExchangeError, NotSentError, RefusedError
from obscura.client.http import Traffic
from obscura.client.target import Target
from obscura.client.websocket import WebSocket, frame
from tests.client.servers import Handler, answering, one_by_one, serving

pytestmark = pytest.mark.libraries


def server_frame(first: int, payload: bytes) -> bytes:
    size = len(payload)
    length = bytes([size]) if size < 126 else b"\x7e" + size.to_bytes(2, "big")
    return bytes([first]) + length + payload


async def test_messages_are_put_together_from_frames_in_pieces() -> None:
    """Fragments, a ping in between, and bytes that arrive one at a time."""
    received: list[bytes] = []
    socket = WebSocket(Traffic(), lambda _socket, messages: received.extend(messages))
    socket._is_upgraded = True
    raw = server_frame(0x82, b"whole") + server_frame(0x02, b"in ") + server_frame(0x89, b"?")
    raw += server_frame(0x80, b"parts") + server_frame(0x82, bytes(300))
    for byte in one_by_one(raw):
        socket.data_received(byte)
    assert received == [b"whole", b"in parts", bytes(300)]


@pytest.mark.parametrize("size", [0, 125, 126, 65_535, 65_536])
def test_a_client_frame_is_final_and_masked(size: int) -> None:
    """RFC 6455 section 5.2, at the edges of its three lengths."""
    built = frame(bytes(size))
    assert built[0] == 0x82
    assert built[1] & 0x80
    extra = {126: 2, 127: 8}.get(built[1] & 0x7F, 0)
    assert len(built) == 2 + extra + 4 + size
    assert (int.from_bytes(built[2 : 2 + extra], "big") or built[1] & 0x7F) == size


def upgrading(*parts: bytes, heard: list[bytes], size: int, accept: bytes | None = None) -> Handler:
    """Upgrades, sends some bytes at once, hears so many of the client, and ends the connection."""

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await reader.readuntil(b"\r\n\r\n")
        key = next(line for line in request.split(b"\r\n") if line.startswith(b"Sec-WebSocket-Key: ")).split()[1]
        right = base64.b64encode(sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
        answer = b"HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: %s\r\n\r\n" % (accept or right)
        writer.write(answer + b"".join(parts))
        heard.append(await reader.readexactly(size))

    return handler


async def test_what_came_before_a_close_is_handed_on_before_it_is_answered() -> None:
    """An ack behind our close frame would mean nothing."""
    heard: list[bytes] = []
    answer = b"ack" + frame(b"\x03\xe9", 0x8)
    frames = server_frame(0x82, b"message"), server_frame(0x88, b"\x03\xe9")
    async with serving(upgrading(*frames, heard=heard, size=len(answer))) as target:
        socket = await WebSocket.open(target, "/", Traffic(), lambda socket, _: socket.write(b"ack"), 5)
        assert await socket.ended
    assert socket.close_code == 1001
    assert not socket.is_open
    assert heard == [answer]


async def test_a_connection_that_breaks_is_no_orderly_end() -> None:
    """Without a close frame nobody knows what was read."""

    async with serving(upgrading(heard=[], size=7)) as target:
        socket = await WebSocket.open(target, "/", Traffic(), lambda *_: None, 5)
        socket.write(frame(b"!"))
        assert not await socket.ended
    assert socket.close_code == 1006


@pytest.mark.parametrize(("header", "wait_secs"), [(b"Retry-After: 3\r\n", 3.0), (b"", None)])
async def test_a_refusal_has_its_status_and_what_to_wait(header: bytes, wait_secs: float | None) -> None:
    async with serving(answering(b"HTTP/1.1 503 Service Unavailable\r\n" + header + b"\r\n")) as target:
        with pytest.raises(RefusedError, match="HTTP 503") as refusal:
            await WebSocket.open(target, "/", Traffic(), lambda *_: None, 5)
    assert (refusal.value.status, refusal.value.retry_after_secs) == (503, wait_secs)


async def test_an_upgrade_by_who_did_not_understand_it_is_noticed() -> None:
    """RFC 6455 section 4.1: a wrong Sec-WebSocket-Accept fails the connection."""
    async with serving(upgrading(heard=[], size=0, accept=b"x")) as target:
        with pytest.raises(ExchangeError, match="wrong Sec-WebSocket-Accept"):
            await WebSocket.open(target, "/", Traffic(), lambda *_: None, 5)


async def test_no_socket_is_opened_where_nobody_listens() -> None:
    with pytest.raises(NotSentError, match="no connection: "):
        await WebSocket.open(Target("127.0.0.1", 1, tls=False), "/", Traffic(), lambda *_: None, 5)
