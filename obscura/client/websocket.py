"""A small WebSocket client (RFC 6455): prebuilt frames out, whole messages in.

Frames are masked with a key of zeros, which leaves their bytes as they are: a relay must
unmask them all the same, and a frame can be built once. The masking exists to keep a page's
script from steering a proxy; here there is neither. That is why no library is used: picows,
the fastest, masks each frame anew, and takes more processor time for a message than this.
"""

import asyncio
import base64
import os
from collections.abc import Callable, Mapping
from hashlib import sha1
from typing import cast

from obscura.client.errors import ExchangeError, NotSentError, RefusedError
from obscura.client.http import Traffic
from obscura.client.target import Target

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA  # RFC 6455 section 5.2
NORMAL, GOING_AWAY = 1000, 1001  # RFC 6455 section 7.4.1
_NO_STATUS, _NO_CLOSE_FRAME = 1005, 1006
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455 section 1.3
_HEAD_END = b"\r\n\r\n"
_FINAL, _MASKED = 0x80, 0x80
_NO_MASK = bytes(4)
_NO_HEADERS: Mapping[str, str] = {}


def frame(payload: bytes, opcode: int = BINARY, *, is_final: bool = True) -> bytes:
    """One client frame (RFC 6455 section 5.2), ready to be written."""
    size = len(payload)
    if size < 126:
        length = bytes([_MASKED | size])
    elif size < 65_536:
        length = bytes([_MASKED | 126]) + size.to_bytes(2, "big")
    else:
        length = bytes([_MASKED | 127]) + size.to_bytes(8, "big")
    return bytes([_FINAL * is_final | opcode]) + length + _NO_MASK + payload


def upgrade_request(authority: str, path: str, key: bytes, headers: Mapping[str, str] = _NO_HEADERS) -> bytes:
    """The opening handshake (RFC 6455 section 4.1). ``headers`` come on top or instead; an empty one is left out."""
    all_headers = {
        "Host": authority,
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Key": key.decode(),
        "Sec-WebSocket-Version": "13",
        **headers,
    }
    lines = [f"{name}: {value}" for name, value in all_headers.items() if value]
    return "\r\n".join([f"GET {path} HTTP/1.1", *lines, "", ""]).encode("latin-1")


def new_key() -> bytes:
    """A value of Sec-WebSocket-Key."""
    return base64.b64encode(os.urandom(16))


class WebSocket(asyncio.Protocol):
    """A socket of the gateway. ``on_messages`` gets the binary messages that arrived together.

    Attributes:
        close_code: What the server said, once it is closed; 1005 without a code, 1006 without a close frame.
        has_sent_close: Whether this side began to close, after which the server reads nothing more.
        ended: Done when the connection is gone. True: the server had sent a close frame, and ended the connection
            instead of breaking it, so that it has read and handled all that was written before it.
        transport: The connection, for who wants to look at it or break it.
    """

    def __init__(self, traffic: Traffic, on_messages: Callable[["WebSocket", list[bytes]], None]) -> None:
        loop = asyncio.get_running_loop()
        self.close_code: int | None = None
        self.has_sent_close = False
        self.ended: asyncio.Future[bool] = loop.create_future()
        self.transport: asyncio.Transport | None = None
        self._traffic = traffic
        self._on_messages = on_messages
        self._upgraded: asyncio.Future[None] = loop.create_future()
        self._is_upgraded = False
        self._buffer = bytearray()
        self._messages: list[bytes] = []
        self._fragments = bytearray()
        self._accept = b""

    @classmethod
    async def open(
        cls,
        target: Target,
        path: str,
        traffic: Traffic,
        on_messages: Callable[["WebSocket", list[bytes]], None],
        timeout_secs: float,
    ) -> "WebSocket":
        """A socket that is connected and upgraded; raises what `upgrade` raises."""
        socket = cls(traffic, on_messages)
        await socket.upgrade(target, path, timeout_secs)
        return socket

    async def upgrade(self, target: Target, path: str, timeout_secs: float) -> None:
        """Connect and upgrade, once in the life of a socket.

        Raises:
            NotSentError: The connection could not be made.
            RefusedError: The server answered with another status.
            ExchangeError: Its answer was wrong, or nothing came in time.
        """
        try:
            async with asyncio.timeout(timeout_secs):
                await target.connect(lambda: self)
                self._ask_for_upgrade(target, path)
                await self._upgraded
        except TimeoutError:
            raise (NotSentError if self.transport is None else ExchangeError)("timeout") from None
        except OSError as error:
            raise NotSentError(f"no connection: {error.strerror or error}") from None
        finally:
            if not self._is_upgraded:
                self.abort()

    @property
    def is_open(self) -> bool:
        return self.transport is not None and self.close_code is None

    def write(self, frames: bytes) -> None:
        """Send prebuilt frames; nothing happens on a closed socket."""
        if self.transport is not None and not self.transport.is_closing():
            self.transport.write(frames)
            self._traffic.sent += len(frames)

    def send_close(self, code: int = GOING_AWAY) -> None:
        """Begin to close; the server answers behind all that it has to write before."""
        self.has_sent_close = True
        self.write(frame(code.to_bytes(2, "big"), CLOSE))

    async def close(self, timeout_secs: float, code: int = GOING_AWAY) -> None:
        """Close, and wait until the server has hung up, which is when it has read what was sent."""
        self.send_close(code)
        await asyncio.wait([self.ended], timeout=timeout_secs)
        self.abort()

    def abort(self) -> None:
        """Let go of the connection at once."""
        if self.transport is not None:
            self.transport.abort()

    # What the event loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's are no subclass of it

    def data_received(self, data: bytes) -> None:
        self._traffic.received += len(data)
        self._buffer += data
        if self._is_upgraded or self._read_answer():
            self._read_frames()
            self._hand_on()

    def connection_lost(self, error: Exception | None) -> None:
        is_orderly = self.close_code is not None and error is None
        if self.close_code is None:
            self.close_code = _NO_CLOSE_FRAME
        self._refuse(ExchangeError("connection lost"))
        if not self.ended.done():
            self.ended.set_result(is_orderly)

    def _ask_for_upgrade(self, target: Target, path: str) -> None:
        key = new_key()
        self._accept = base64.b64encode(sha1(key + _GUID, usedforsecurity=False).digest())
        self.write(upgrade_request(target.authority, path, key))

    def _read_answer(self) -> bool:
        """Whether the answer to the upgrade was there and good."""
        end = self._buffer.find(_HEAD_END)
        if end < 0:
            return False
        first, *lines = bytes(self._buffer[:end]).decode("latin-1").split("\r\n")
        del self._buffer[: end + len(_HEAD_END)]
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        status = first[9:12]
        if status != "101":
            wait = headers.get("retry-after")
            refusal = RefusedError(int(status), None if wait is None else float(wait)) if status.isdecimal() else None
            self._refuse(refusal or ExchangeError("answer is no HTTP"))
        elif headers.get("sec-websocket-accept", "").encode() != self._accept:
            self._refuse(ExchangeError("wrong Sec-WebSocket-Accept"))
        else:
            self._is_upgraded = True
            if not self._upgraded.done():
                self._upgraded.set_result(None)
        return self._is_upgraded

    def _refuse(self, error: ExchangeError) -> None:
        if not self._upgraded.done():
            self._upgraded.set_exception(error)
            self._upgraded.exception()  # nobody may wait for it any more

    def _read_frames(self) -> None:
        """Take all whole frames from the buffer: answers pings, notes a close, gathers whole messages."""
        buffer, position = self._buffer, 0
        while (found := _next_frame(buffer, position)) is not None:
            first, start, position = found
            payload = bytes(buffer[start:position])
            opcode = first & 0x0F
            if opcode == BINARY and first & _FINAL:
                self._messages.append(payload)
            elif opcode in {CONTINUATION, TEXT, BINARY}:
                self._fragments += payload
                if first & _FINAL:
                    self._messages.append(bytes(self._fragments))
                    self._fragments.clear()
            else:
                self._control(opcode, payload)
        del buffer[:position]

    def _hand_on(self) -> None:
        if self._messages:
            messages, self._messages = self._messages, []
            self._on_messages(self, messages)

    def _control(self, opcode: int, payload: bytes) -> None:
        if opcode == PING:  # RFC 6455 section 5.5.2
            self.write(frame(payload, PONG))
        elif opcode == CLOSE and self.close_code is None:  # RFC 6455 section 5.5.1
            self._hand_on()  # what is written for these must be out before our close frame
            self.close_code = int.from_bytes(payload[:2], "big") if payload else _NO_STATUS
            if not self.has_sent_close:
                self.write(frame(payload[:2], CLOSE))


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
