"""A small WebSocket client (RFC 6455): prebuilt frames out, whole messages in.

Frames are masked with a key of zeros, which leaves their bytes as they are: a relay must
unmask them all the same, and a frame can be built once. The masking exists to keep a page's
script from steering a proxy; here there is neither.
"""

import asyncio
import base64
import os
from collections.abc import Callable
from hashlib import sha1
from typing import cast

from obscura.bench.errors import ExchangeError
from obscura.client.http import Traffic
from obscura.client.target import Target

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 section 1.3
_HEAD_END = b"\r\n\r\n"
_CONTINUATION, _TEXT, _BINARY, _CLOSE, _PING = 0x0, 0x1, 0x2, 0x8, 0x9
_PONG = 0xA
_FINAL, _MASKED = 0x80, 0x80
_NO_MASK = bytes(4)
_GOING = (1001).to_bytes(2, "big")
_NO_STATUS = 1005
_NO_CLOSE_FRAME = 1006


def frame(payload: bytes, opcode: int = _BINARY) -> bytes:
    """One client frame, ready to be written."""
    size = len(payload)
    if size < 126:
        length = bytes([_MASKED | size])
    elif size < 65_536:
        length = bytes([_MASKED | 126]) + size.to_bytes(2, "big")
    else:
        length = bytes([_MASKED | 127]) + size.to_bytes(8, "big")
    return bytes([_FINAL | opcode]) + length + _NO_MASK + payload


class WebSocket(asyncio.Protocol):
    """A socket of the gateway. ``on_messages`` gets the binary messages that arrived together."""

    def __init__(self, traffic: Traffic, on_messages: Callable[["WebSocket", list[bytes]], None]) -> None:
        self.close_code: int | None = None  # what the server said, once it is closed
        loop = asyncio.get_running_loop()
        self._traffic = traffic
        self._on_messages = on_messages
        self._transport: asyncio.Transport | None = None
        self._upgraded: asyncio.Future[None] = loop.create_future()
        self._closed: asyncio.Future[None] = loop.create_future()
        self._buffer = bytearray()
        self._fragments = bytearray()
        self._accept = b""
        self._is_leaving = False

    @classmethod
    async def open(
        cls,
        target: Target,
        path: str,
        traffic: Traffic,
        on_messages: Callable[["WebSocket", list[bytes]], None],
        timeout_secs: float,
    ) -> "WebSocket":
        """Connect and upgrade.

        Raises:
            ExchangeError: The server refused, or nothing came in time.
        """
        self = cls(traffic, on_messages)
        try:
            async with asyncio.timeout(timeout_secs):
                await target.connect(lambda: self)
                self._upgrade(target, path)
                await self._upgraded
        except TimeoutError:
            self.abort()
            raise ExchangeError("timeout") from None
        except OSError as error:
            raise ExchangeError(f"no connection: {error.strerror or error}") from None
        return self

    @property
    def is_open(self) -> bool:
        return self._transport is not None and self.close_code is None

    def write(self, frames: bytes) -> None:
        """Send prebuilt frames; nothing happens on a closed socket."""
        if self._transport is not None:
            self._transport.write(frames)
            self._traffic.sent += len(frames)

    async def close(self, timeout_secs: float) -> None:
        """Say goodbye and wait until the server has hung up, which is when it has read what was sent."""
        self._is_leaving = True
        self.write(frame(_GOING, _CLOSE))
        try:
            async with asyncio.timeout(timeout_secs):
                await asyncio.shield(self._closed)
        except TimeoutError:
            self.abort()

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are no subclass of it

    def data_received(self, data: bytes) -> None:
        self._traffic.received += len(data)
        self._buffer += data
        if not self._upgraded.done() and not self._read_answer():
            return
        messages = self._read_frames()
        if messages:
            self._on_messages(self, messages)

    def connection_lost(self, _error: Exception | None) -> None:
        self._transport = None
        if self.close_code is None:
            self.close_code = _NO_CLOSE_FRAME
        if not self._upgraded.done():
            self._upgraded.set_exception(ExchangeError("connection lost"))
        if not self._closed.done():
            self._closed.set_result(None)

    def _upgrade(self, target: Target, path: str) -> None:
        key = base64.b64encode(os.urandom(16))
        self._accept = base64.b64encode(sha1(key + _GUID, usedforsecurity=False).digest())
        request = (
            f"GET {path} HTTP/1.1\r\nHost: {target.authority}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key.decode()}\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
        self.write(request.encode())

    def _read_answer(self) -> bool:
        """Whether the answer to the upgrade was there and good."""
        end = self._buffer.find(_HEAD_END)
        if end < 0:
            return False
        answer = bytes(self._buffer[:end])
        del self._buffer[: end + len(_HEAD_END)]
        status = answer[9:12].decode("ascii", "replace")
        if status == "101" and self._accept in answer:
            self._upgraded.set_result(None)
            return True
        kind = "wrong Sec-WebSocket-Accept" if status == "101" else f"HTTP {status}"
        self._upgraded.set_exception(ExchangeError(kind))
        self.abort()
        return False

    def _read_frames(self) -> list[bytes]:
        """Take all whole frames from the buffer: answers pings, notes a close, returns whole messages."""
        buffer, position, messages = self._buffer, 0, list[bytes]()
        while (found := _next_frame(buffer, position)) is not None:
            first, start, position = found
            payload = bytes(buffer[start:position])
            opcode = first & 0x0F
            if opcode == _BINARY and first & _FINAL:
                messages.append(payload)
            elif opcode in {_CONTINUATION, _TEXT, _BINARY}:
                self._fragments += payload
                if first & _FINAL:
                    messages.append(bytes(self._fragments))
                    self._fragments.clear()
            else:
                self._control(opcode, payload)
        del buffer[:position]
        return messages

    def _control(self, opcode: int, payload: bytes) -> None:
        if opcode == _PING:
            self.write(frame(payload, _PONG))
        elif opcode == _CLOSE and self.close_code is None:
            if not self._is_leaving:
                self.write(frame(payload[:2], _CLOSE))
            self.close_code = int.from_bytes(payload[:2], "big") if payload else _NO_STATUS


def _next_frame(buffer: bytearray, position: int) -> tuple[int, int, int] | None:
    """First byte, start and end of the payload of the frame at ``position``; None if not all of it is there."""
    available = len(buffer)
    start = position + 2
    if available < start:
        return None
    size = buffer[position + 1]
    if size == 126:
        start += 2
        size = int.from_bytes(buffer[start - 2 : start], "big")
    elif size == 127:
        start += 8
        size = int.from_bytes(buffer[start - 8 : start], "big")
    end = start + size
    return None if available < end else (buffer[position], start, end)
