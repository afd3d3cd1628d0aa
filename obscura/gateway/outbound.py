"""One socket's way out: frames to the transport, a bound on what waits there, and the watch on a stuck peer.

Frames are written whole and never queued here. What the kernel does not take at once
waits in the transport; past the bound the session stops pushing and reads on from the
inbox when the transport has drained. A peer that takes nothing for the write timeout is
cut off.
"""

import asyncio
import logging

from aiohttp import web

from obscura import frames
from obscura.telemetry import SOCKETS_CLOSED

log = logging.getLogger(__name__)

_MAX_WAITING_PONGS = 16  # a peer that sends pings and reads nothing gets no more than these


class Outbound:
    """Args:
    max_waiting: Live envelopes that may wait in the transport.
    write_timeout_secs: A peer that takes nothing for this long is cut off.
    """

    __slots__ = (
        "_loop",
        "_max_waiting",
        "_pongs",
        "_request",
        "_stall_timer",
        "_taken_bytes",
        "_transport",
        "_waiting",
        "_write_timeout_secs",
        "_written_bytes",
    )

    def __init__(self, request: web.Request, max_waiting: int, write_timeout_secs: float) -> None:
        assert request.transport is not None
        self._request = request
        self._transport: asyncio.Transport = request.transport
        # The transport tells of any byte it could not hand to the kernel, so drained means empty.
        self._transport.set_write_buffer_limits(high=0)
        self._loop = asyncio.get_running_loop()
        self._max_waiting = max_waiting
        self._write_timeout_secs = write_timeout_secs
        self._waiting = self._pongs = self._written_bytes = self._taken_bytes = 0
        self._stall_timer: asyncio.TimerHandle | None = None

    @property
    def is_empty(self) -> bool:
        return self._transport.get_write_buffer_size() == 0

    @property
    def has_room(self) -> bool:
        """Whether another live envelope may be written now."""
        if self.is_empty:
            self._waiting = 0
        return self._waiting < self._max_waiting

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
        """Answer a ping at once, behind what waits already."""
        if self.is_empty:
            self._pongs = 0
        if self._pongs < _MAX_WAITING_PONGS:
            self._pongs += 1
            self.write(frames.control(frames.PONG_OPCODE, payload))

    async def drained(self) -> None:
        """Wait until the transport holds nothing.

        Raises:
            ConnectionError: The socket is gone.
        """
        await self._request.writer.drain()

    def cut_off(self, reason: str) -> None:
        """Drop the connection without a closing handshake."""
        if not self._transport.is_closing():
            SOCKETS_CLOSED.labels(reason).inc()
        self._transport.abort()

    def finish(self) -> None:
        """Close the connection behind what waits."""
        if self._stall_timer is not None:
            self._stall_timer.cancel()
        self._transport.close()

    def _watch_for_stall(self) -> None:
        self._taken_bytes = self._taken()
        self._stall_timer = self._loop.call_later(self._write_timeout_secs, self._check_for_stall)

    def _check_for_stall(self) -> None:
        self._stall_timer = None
        if self.is_empty:
            return
        if self._taken() == self._taken_bytes:
            self.cut_off("write timeout")
        else:
            self._watch_for_stall()

    def _taken(self) -> int:
        return self._written_bytes - self._transport.get_write_buffer_size()
