"""One socket's way out: frames to the transport, a bound on what waits there, and the watch on a stuck peer.

Frames are written whole and never queued here. What the kernel does not take at once
waits in the transport; past the bound nothing more is pushed until the transport has
drained, and then from the inbox. The bound is in bytes too: a pong and a close frame go
out behind what waits, which on a slow line is time. A peer that takes nothing for the
write timeout is cut off, even one that has sent its close frame.
"""

import asyncio
import socket
import struct
from contextlib import suppress

from aiohttp import web

from obscura.gateway.formats import rfc6455
from obscura.observability.metrics.gateway import SOCKETS_CLOSED

_MAX_WAITING_PONGS = 16  # a peer that sends pings and reads nothing gets no more than these
_MAX_WAITING_BYTES = 16_384  # beyond which no live envelope is added
_LINGER_POLL_SECS = 0.02

# Unsent bytes that the kernel takes for one socket. Left alone it takes megabytes: memory that nobody
# counts, for which a pong and a close frame wait, and behind which a slow peer looks like a stuck one.
_KERNEL_MAX_UNSENT_BYTES = 16_384

# Else the kernel goes on for minutes to offer a stuck peer what it has not taken.
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class SocketWriter:
    """Writes to the connection of a request, past aiohttp: whole frames, which nothing is added to.

    Args:
        max_waiting: Live envelopes that may wait in the transport.
        write_timeout_secs: A peer that takes nothing for this long is cut off.

    Raises:
        ConnectionError: The client has gone already.
    """

    __slots__ = (
        "_flushed_before",
        "_loop",
        "_max_waiting",
        "_pongs",
        "_request",
        "_stall_timer",
        "_transport",
        "_waiting",
        "_write_timeout_secs",
        "_written_bytes",
    )

    def __init__(self, request: web.Request, max_waiting: int, write_timeout_secs: float) -> None:
        if request.transport is None or request.transport.is_closing():
            raise ConnectionResetError("the client is gone")
        self._request = request
        self._transport: asyncio.Transport = request.transport
        # The transport tells of any byte it could not hand to the kernel, so drained means empty.
        self._transport.set_write_buffer_limits(high=0)
        if hasattr(socket, "TCP_NOTSENT_LOWAT"):
            kernel = self._transport.get_extra_info("socket")
            kernel.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _KERNEL_MAX_UNSENT_BYTES)
        self._loop = asyncio.get_running_loop()
        self._max_waiting = max_waiting
        self._write_timeout_secs = write_timeout_secs
        self._waiting = self._pongs = self._written_bytes = self._flushed_before = 0
        self._stall_timer: asyncio.TimerHandle | None = None

    @property
    def is_open(self) -> bool:
        """Whether the connection takes anything more."""
        return not self._transport.is_closing()

    @property
    def is_empty(self) -> bool:
        """Whether the kernel has taken all that was written."""
        return self._transport.get_write_buffer_size() == 0

    @property
    def has_room(self) -> bool:
        """Whether another live envelope may be written now."""
        waiting_bytes = self._transport.get_write_buffer_size()
        if waiting_bytes == 0:
            self._waiting = 0
        return self._waiting < self._max_waiting and waiting_bytes < _MAX_WAITING_BYTES

    def write(self, frame: bytes) -> None:
        """Write one frame or several joined. A closed socket takes it and forgets it."""
        if self._transport.is_closing():
            return
        self._waiting += 1
        self._written_bytes += len(frame)
        self._transport.write(frame)
        if self._stall_timer is None and not self.is_empty:
            self._watch_for_stall()

    def pong(self, payload: bytes) -> None:
        """Answer a ping with its own payload (RFC 6455 section 5.5.3), at once, behind what waits already."""
        if self.is_empty:
            self._pongs = 0
        if self._pongs < _MAX_WAITING_PONGS:
            self._pongs += 1
            self.write(rfc6455.control(rfc6455.PONG_OPCODE, payload))

    async def drained(self) -> None:
        """Wait until the transport holds nothing.

        Raises:
            ConnectionError: The socket is gone.
        """
        await self._request.writer.drain()
        if self._transport.is_closing():
            raise ConnectionResetError("the client is gone")
        self._pongs = 0  # those that waited are out

    def abort(self, reason: str) -> None:
        """Drop the connection without a closing handshake, and what waits with it."""
        if not self._transport.is_closing():
            SOCKETS_CLOSED.labels(reason).inc()
        if self._request.transport is not None:  # else the connection has ended, and its number may be another's
            kernel = self._transport.get_extra_info("socket")
            kernel.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        self._transport.abort()

    async def linger(self, timeout_secs: float) -> None:
        """Wait for the peer to close.

        A connection closed with bytes of the peer unread is reset, and the reset
        overtakes the close frame that tells the peer why.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_secs):
                while self.is_open:  # noqa: ASYNC110  aiohttp keeps the end of a connection to itself
                    await asyncio.sleep(_LINGER_POLL_SECS)

    def close_after_flush(self) -> None:
        """Close the connection behind what waits, for as long as the peer goes on taking that."""
        self._transport.close()
        if self._stall_timer is not None and self.is_empty:
            self._stall_timer.cancel()

    def _watch_for_stall(self) -> None:
        self._flushed_before = self._flushed_bytes()
        self._stall_timer = self._loop.call_later(self._write_timeout_secs, self._check_for_stall)

    def _check_for_stall(self) -> None:
        self._stall_timer = None
        if self.is_empty:
            return
        if self._flushed_bytes() == self._flushed_before:
            self.abort("write timeout")
        else:
            self._watch_for_stall()

    def _flushed_bytes(self) -> int:
        return self._written_bytes - self._transport.get_write_buffer_size()
