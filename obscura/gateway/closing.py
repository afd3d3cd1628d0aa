"""The end of one socket: close frames in either direction, and a bound on the wait for the peer's."""

import asyncio

from aiohttp import WebSocketError, WSMessage, WSMsgType

from obscura.gateway.close_codes import DEVICE_REPLACED, SESSION_REVOKED, CloseReason
from obscura.gateway.formats import rfc6455
from obscura.gateway.heartbeat import Heartbeat
from obscura.gateway.socket_writer import SocketWriter
from obscura.observability.metrics.gateway import SOCKETS_CLOSED

_TIMEOUT_SECS = 2.0


class ClosingHandshake:
    """One socket's closing handshake (RFC 6455 section 7.1.2), begun by either side.

    Attributes:
        may_send: Whether frames may be sent: from the upgrade until the first close frame of either side.
    """

    # Nothing follows a close frame that was sent (section 5.5.1). One that was received is answered behind
    # the last acks, and what would be sent before the answer would be for a client that no longer listens.

    __slots__ = ("_heartbeat", "_is_upgraded", "_loop", "_pending", "_timer", "_writer", "may_send")

    def __init__(self, writer: SocketWriter, heartbeat: Heartbeat) -> None:
        self._writer = writer
        self._heartbeat = heartbeat
        self._loop = asyncio.get_running_loop()
        self._is_upgraded = False
        self._pending: CloseReason | None = None
        self._timer: asyncio.TimerHandle | None = None
        self.may_send = False

    def open(self) -> None:
        """The socket is upgraded. If it was closed before that, the close frame is the first it sends."""
        self._is_upgraded = self.may_send = True
        if self._pending is not None:
            self.close(self._pending)

    def close(self, reason: CloseReason) -> None:
        """Send a close frame unless one was sent or came. A peer that does not answer in time is cut off."""
        if not self._is_upgraded:
            self._pending = reason
        elif self.may_send:
            self.may_send = False
            SOCKETS_CLOSED.labels(reason.text).inc()
            self._writer.write(rfc6455.close(*reason))
            self._heartbeat.stop()
            self._timer = self._loop.call_later(_TIMEOUT_SECS, self.abort)

    @property
    def has_begun(self) -> bool:
        """Whether either side has begun to close, be it before the upgrade."""
        return self._pending is not None or (self._is_upgraded and not self.may_send)

    @property
    def has_pending_close(self) -> bool:
        """Whether the socket was closed before its upgrade because its session is over."""
        return self._pending in (DEVICE_REPLACED, SESSION_REVOKED)

    def clear_pending_close(self) -> None:
        """Take back what makes `has_pending_close` true."""
        if self.has_pending_close:
            self._pending = None

    def stop_sending(self) -> bool:
        """Send nothing more but the answer to a close frame. False: ours was sent already."""
        was_open, self.may_send = self.may_send, False
        self._heartbeat.stop()
        return was_open

    async def answer(self, last: WSMessage) -> None:
        """Send the close frame that the peer's last frame asks for, if any."""
        if last.type is WSMsgType.CLOSE:
            # With the peer's own code, or none (RFC 6455 section 5.5.1).
            self._writer.write(rfc6455.close(last.data) if last.data else rfc6455.control(rfc6455.CLOSE_OPCODE))
        elif isinstance(last.data, WebSocketError):  # the connection is failed: section 7.1.7
            SOCKETS_CLOSED.labels("protocol error").inc()
            self._writer.write(rfc6455.close(last.data.code))
            await self._writer.linger(_TIMEOUT_SECS)

    def abort(self) -> None:
        """Drop the connection without a closing handshake."""
        self._writer.abort("no closing handshake")

    def end(self) -> None:
        """The socket is over, however it came to that. Safe to call again."""
        self.stop_sending()
        if self._timer is not None:
            self._timer.cancel()
