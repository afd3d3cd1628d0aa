"""A gateway socket that costs little: envelopes are taken as they arrive, acks of one read leave in one write."""

import array
import asyncio
import fcntl
import socket
import struct
import termios
from collections.abc import Callable

from obscura.client.errors import ExchangeError, RefusedError
from obscura.client.frames import ack, parse
from obscura.client.http import Traffic
from obscura.client.websocket import NORMAL, WebSocket
from obscura.v1.obscura_pb2 import Envelope, WebSocketFrame
from tests.faults.http import local

CONNECT_SECS = 10.0
_NO_CODES = (1005, 1006)  # RFC 6455 section 7.4.1: never in a frame


class GatewaySocket:
    """One socket. ``take`` is called with each envelope and says whether to ack it.

    Attributes:
        ended: Done when the connection is gone; cancelled by nobody.
        is_orderly: Whether the server sent a close frame and then ended the connection, not breaking it: by then
            it has written every ack that came before.
        shortage: Called when the server says that one-time keys run low.
    """

    def __init__(
        self, take: Callable[["GatewaySocket", Envelope], bool], shortage: Callable[[int], None] = lambda _: None
    ) -> None:
        self._take = take
        self._shortage = shortage
        self._socket = WebSocket(Traffic(), self._on_messages)

    async def open(self, port: int, token: str) -> None:
        """Connect and upgrade.

        Raises:
            RefusedError: The node says no.
            NotSentError: Nobody listens.
            ExchangeError: The connection ended, or nothing came in time.
        """
        await self._socket.upgrade(local(port), f"/v1/gateway?token={token}", CONNECT_SECS)

    @property
    def ended(self) -> asyncio.Future[bool]:
        return self._socket.ended

    @property
    def is_orderly(self) -> bool:
        return self.ended.done() and self.ended.result()

    @property
    def close_code(self) -> int | None:
        """Of the server's close frame, None without one."""
        code = self._socket.close_code
        return None if code in _NO_CODES else code

    @property
    def has_sent_close(self) -> bool:
        """Whether this side sent its close frame, behind which acks mean nothing."""
        return self._socket.has_sent_close

    def ack(self, *ids: str) -> None:
        """Ack envelopes by id, in one write."""
        self._socket.write(b"".join(map(ack, ids)))

    async def close(self, timeout_secs: float = 10.0) -> None:
        """Close in order, or cut the connection when the time is over."""
        if self._socket.transport is not None:
            await self._socket.close(timeout_secs, NORMAL)

    def abort(self) -> None:
        self._socket.abort()

    def reset(self) -> None:
        """Send RST."""
        connection = self._connection
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.abort()

    @property
    def has_sent_all(self) -> bool:
        """Whether the other side's machine has all that was written."""
        assert self._socket.transport is not None
        is_written = self._socket.transport.get_write_buffer_size() == 0
        return is_written and _unacknowledged_bytes(self._connection.fileno()) == 0

    @property
    def _connection(self) -> socket.socket:
        assert self._socket.transport is not None
        return self._socket.transport.get_extra_info("socket")

    def _on_messages(self, _socket: WebSocket, messages: list[bytes]) -> None:
        acks = [frame.envelope.id for frame in map(parse, messages) if self._is_to_ack(frame)]
        if acks:
            self.ack(*acks)

    def _is_to_ack(self, frame: WebSocketFrame) -> bool:
        if frame.HasField("pre_key_status"):
            self._shortage(frame.pre_key_status.one_time_pre_key_count)
            return False
        return frame.HasField("envelope") and self._take(self, frame.envelope)


def status_of(error: ExchangeError) -> int:
    """With what an upgrade was refused; 0: the connection ended before."""
    return error.status if isinstance(error, RefusedError) else 0


def retry_after_secs(error: ExchangeError) -> float:
    """How long to wait before the next upgrade: a second if the node did not say."""
    return (error.retry_after_secs if isinstance(error, RefusedError) else None) or 1


def _unacknowledged_bytes(descriptor: int) -> int:
    """What the kernel holds of a connection until the other side's has it."""
    count = array.array("i", [0])
    fcntl.ioctl(descriptor, termios.TIOCOUTQ, count)
    return count[0]
