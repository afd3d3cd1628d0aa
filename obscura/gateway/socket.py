"""One gateway socket, from before its upgrade to after its end; the parts it is made of do the work."""

import asyncio
from uuid import UUID

from aiohttp import WSMessage, web

from obscura.gateway.ack_receiver import AckReceiver
from obscura.gateway.close_codes import CloseReason
from obscura.gateway.closing import ClosingHandshake
from obscura.gateway.delivery import Delivery
from obscura.gateway.formats.frame_format import FrameFormat
from obscura.gateway.heartbeat import Heartbeat
from obscura.gateway.options import SocketContext
from obscura.gateway.read_throttle import ReadThrottle
from obscura.gateway.reader import Reader
from obscura.gateway.socket_writer import SocketWriter


class GatewaySocket:
    """What the hub and the server know of a socket.

    It joins the hub before the upgrade, so that failures are answered over HTTP; what the
    hub tells it until `serve` is made up for by the first read of the inbox.

    Attributes:
        address_id: Whose inbox it delivers.
        session_id: The login it was opened with.
        push: Called by the hub for each message; the delivery's own, which spares a call.
    """

    __slots__ = (
        "_acks",
        "_closing",
        "_context",
        "_delivery",
        "_heartbeat",
        "_reader",
        "_writer",
        "address_id",
        "push",
        "session_id",
    )

    def __init__(
        self,
        address_id: UUID,
        session_id: UUID,
        frame_format: FrameFormat,
        writer: SocketWriter,
        context: SocketContext,
    ) -> None:
        options = context.options
        throttle = ReadThrottle(options.max_unwritten_acks, asyncio.get_running_loop().time())
        self.address_id = address_id
        self.session_id = session_id
        self._context = context
        self._writer = writer
        self._heartbeat = Heartbeat(writer, options.ping_interval_secs, options.ping_timeout_secs)
        self._closing = ClosingHandshake(writer, self._heartbeat)
        self._delivery = Delivery(address_id, frame_format, writer, self._closing, throttle, context)
        self._acks = AckReceiver(address_id, frame_format, self._delivery, context)
        self._reader = Reader(self._acks, throttle, self._heartbeat, self._closing, writer)
        self.push = self._delivery.push

    async def serve(self, websocket: web.WebSocketResponse) -> None:
        """Run the upgraded socket to its end. All acks it sent are handed on when this returns."""
        self._closing.open()
        if self._closing.may_send:
            self._heartbeat.start()
            self._delivery.start()
        try:
            await self._complete_close(await self._reader.read(websocket))
        finally:
            self._closing.end()
            self._writer.close_after_flush()
            await self._delivery.stop()
            await self._acks.flush()

    async def _complete_close(self, last: WSMessage) -> None:
        """End as the peer's last frame asks for."""
        is_to_answer = self._closing.stop_sending()
        if is_to_answer:
            self._context.unacked_ends.note(self.address_id, self._delivery.in_flight, last)
        # Before the answer: who has it may be at another node in no time, and would get again what it acked.
        await self._acks.flush()
        if is_to_answer:
            await self._closing.answer(last)

    def push_pre_key_status(self, count: int) -> None:
        """One-time pre-keys became few."""
        self._delivery.push_pre_key_status(count)

    def resync(self) -> None:
        """Events may have been missed: read again what they would have told."""
        self._delivery.resync()

    def close(self, reason: CloseReason) -> None:
        """Send the close frame; acks that arrive before the peer's answer still count."""
        self._closing.close(reason)

    def abort(self) -> None:
        """End without waiting for the peer."""
        self._closing.abort()

    @property
    def heard_at(self) -> float:
        """When the peer was last heard, by the event loop's clock."""
        return self._heartbeat.heard_at

    @property
    def is_closing(self) -> bool:
        """Whether either side has begun to close it."""
        return self._closing.has_begun

    @property
    def has_pending_close(self) -> bool:
        """Whether it was closed before its upgrade because its session is over."""
        return self._closing.has_pending_close

    def clear_pending_close(self) -> None:
        """Take back what makes `has_pending_close` true."""
        self._closing.clear_pending_close()
