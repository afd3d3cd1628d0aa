"""A gateway socket that costs little: frames are taken as they arrive, acks of one read leave in one write."""

import array
import asyncio
import base64
import fcntl
import os
import socket
import struct
import termios
from collections.abc import Callable

from obscura.v1.obscura_pb2 import Envelope, WebSocketFrame
from tests.support.client import ack_frame
from tests.support.raw_socket import BINARY, CLOSE, PING, PONG, frame_bytes

CONNECT_SECS = 10.0


class RefusedError(Exception):
    """The upgrade was answered with another status than 101; 0: the connection ended before."""

    def __init__(self, status: int, retry_after_secs: float) -> None:
        super().__init__(f"no socket: {status}")
        self.status = status
        self.retry_after_secs = retry_after_secs


class GatewaySocket(asyncio.Protocol):
    """One socket. ``take`` is called with each envelope and says whether to ack it.

    Attributes:
        ended: Done when the connection is gone.
        close_code: Of the server's close frame, None without one.
        is_orderly: Whether the server sent a close frame and then ended the connection, not breaking it: by then
            it has written every ack that came before.
        said_goodbye: Whether this side sent its close frame, behind which acks mean nothing.
        shortage: Called when the server says that one-time keys run low.
    """

    def __init__(
        self, take: Callable[["GatewaySocket", Envelope], bool], shortage: Callable[[int], None] = lambda _: None
    ) -> None:
        loop = asyncio.get_running_loop()
        self._take = take
        self._shortage = shortage
        self._received = bytearray()
        self._upgraded: asyncio.Future[None] = loop.create_future()
        self._transport: asyncio.Transport | None = None
        self.said_goodbye = False
        self.ended: asyncio.Future[None] = loop.create_future()
        self.close_code: int | None = None
        self.is_orderly = False

    async def open(self, port: int, token: str) -> None:
        """Connect and upgrade.

        Raises:
            RefusedError: The node says no.
            OSError: Nobody listens.
        """
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(CONNECT_SECS):
                self._transport, _ = await loop.create_connection(lambda: self, "127.0.0.1", port)
                key = base64.b64encode(os.urandom(16)).decode()
                self._transport.write(
                    f"GET /v1/gateway?token={token} HTTP/1.1\r\nHost: relay\r\nConnection: Upgrade\r\n"
                    f"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n".encode()
                )
                await self._upgraded
        except TimeoutError:
            raise RefusedError(0, 1) from None
        finally:
            if not self._is_upgraded:
                self.abort()

    def ack(self, *names: str) -> None:
        """Ack envelopes by id, in one write."""
        self._write(b"".join(frame_bytes(BINARY, ack_frame(name)) for name in names))

    def say_goodbye(self) -> None:
        """Send a close frame; the server answers behind the last ack it wrote."""
        self.said_goodbye = True
        self._write(frame_bytes(CLOSE, struct.pack("!H", 1000)))

    async def close(self, timeout_secs: float = 10.0) -> None:
        """Close in order, or cut the connection when the time is over."""
        if self._transport is not None and not self.ended.done():
            self.say_goodbye()
            await asyncio.wait([self.ended], timeout=timeout_secs)
        self.abort()

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def reset(self) -> None:
        """Send RST."""
        assert self._transport is not None
        connection = self._transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._transport.abort()

    @property
    def has_sent_all(self) -> bool:
        """Whether the other side's machine has all that was written."""
        assert self._transport is not None
        connection = self._transport.get_extra_info("socket")
        return self._transport.get_write_buffer_size() == 0 and _unacknowledged_bytes(connection.fileno()) == 0

    def _write(self, data: bytes) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    @property
    def _is_upgraded(self) -> bool:
        upgraded = self._upgraded
        return upgraded.done() and not upgraded.cancelled() and not upgraded.exception()

    # What the event loop calls.

    def data_received(self, data: bytes) -> None:
        self._received += data
        if not self._upgraded.done():
            self._read_head()
        if self._is_upgraded:
            self._read_frames()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._upgraded.done():
            self._upgraded.set_exception(RefusedError(0, 1))
            self._upgraded.exception()  # it may be nobody waits any more
        self.is_orderly = self.is_orderly and exc is None
        if not self.ended.done():
            self.ended.set_result(None)

    def _read_head(self) -> None:
        head, found, rest = bytes(self._received).partition(b"\r\n\r\n")
        if not found:
            return
        self._received = bytearray(rest)
        first, *lines = head.decode("latin-1").split("\r\n")
        status = int(first.split(" ", 2)[1])
        if status == 101:
            self._upgraded.set_result(None)
        else:
            waits = [float(line.partition(":")[2]) for line in lines if line.lower().startswith("retry-after:")]
            self._upgraded.set_exception(RefusedError(status, waits[0] if waits else 1))

    def _read_frames(self) -> None:
        acks, start, received = [], 0, self._received
        while len(received) - start >= 2:
            size, at = received[start + 1] & 0x7F, start + 2
            if size >= 126:
                wide = 2 if size == 126 else 8
                if len(received) - at < wide:
                    break
                size, at = int.from_bytes(received[at : at + wide], "big"), at + wide
            if len(received) - at < size:
                break
            opcode, payload = received[start] & 0x0F, bytes(received[at : at + size])
            start = at + size
            if opcode == BINARY:
                if name := self._on_frame(WebSocketFrame.FromString(payload)):
                    acks.append(name)
            elif opcode == PING:
                self._write(frame_bytes(PONG, payload))
            elif opcode == CLOSE:
                self.ack(*acks)
                acks.clear()
                self._on_close(payload)
        del received[:start]
        if acks:
            self.ack(*acks)

    def _on_frame(self, frame: WebSocketFrame) -> str:
        if frame.HasField("pre_key_status"):
            self._shortage(frame.pre_key_status.one_time_pre_key_count)
        elif frame.HasField("envelope") and self._take(self, frame.envelope):
            return frame.envelope.id
        return ""

    def _on_close(self, payload: bytes) -> None:
        self.close_code = struct.unpack("!H", payload[:2])[0] if payload else None
        self.is_orderly = True
        if not self.said_goodbye:
            self._write(frame_bytes(CLOSE, payload[:2]))


def _unacknowledged_bytes(descriptor: int) -> int:
    """What the kernel holds of a connection until the other side's has it."""
    count = array.array("i", [0])
    fcntl.ioctl(descriptor, termios.TIOCOUTQ, count)
    return count[0]
