"""One gateway socket: pushes its user's inbox, takes acks, keeps the peer alive, says goodbye.

The cursor is the whole of the delivery logic. It is the id of the last entry pushed, or
up to which the inbox was seen to be empty. An event whose predecessor the cursor has
reached is pushed straight from the event; after any other the pump reads the inbox from
the cursor on. So each envelope is pushed once per connection and in the order stored,
and a lost, late or doubled event costs latency, never a message.

After a gap in the events there may be another master, which lacks the end of the inbox
that was pushed, and has messages of the same time instead. So the whole inbox is read
again, and of that what this connection has had, and not acked, is passed over.
"""

import asyncio
import logging
from uuid import UUID

from aiohttp import WebSocketError, WSMessage, WSMsgType, web

from obscura.errors import StoreUnavailable
from obscura.gateway.close_codes import DEVICE_REPLACED, INTERNAL_ERROR, SESSION_REVOKED, CloseReason
from obscura.gateway.formats import frames_0_3 as frames
from obscura.gateway.formats import rfc6455
from obscura.gateway.heartbeat import Heartbeat
from obscura.gateway.in_flight import InFlightMessages
from obscura.gateway.options import SocketContext
from obscura.gateway.read_throttle import ReadThrottle
from obscura.gateway.socket_writer import SocketWriter
from obscura.model.events import MessageStored
from obscura.model.message_ids import START, EntryId
from obscura.observability.metrics.delivery import MESSAGES_DELIVERED
from obscura.observability.metrics.gateway import FRAMES_IGNORED, READS_PAUSED, SOCKETS_CLOSED

log = logging.getLogger(__name__)

_PAGE_MAX_BYTES = 262_144
_RETRY_SECS = 0.5  # while Redis is away
_FRAMES_PER_TURN = 64  # then the other sockets get theirs
_CLOSE_TIMEOUT_SECS = 2.0
_ANY = EntryId(1 << 64, 0)  # beyond every entry


class GatewaySocket:
    """A socket from before its upgrade to after its end.

    It joins the hub before the upgrade, so that failures are answered over HTTP; what the
    hub tells it until `serve` is made up for by the first read of the inbox.
    """

    # Attributes that need a word:
    #   _announced   the newest entry told of that may lie beyond the cursor, unread; _ANY if a gap may hide some
    #   _begin_anew  whether a gap was told of since the inbox was last read from its start
    #   _rereading   whether the inbox is read again from its start: what is acked now may still be on its way
    #   _status_due  whether a shortage of pre-keys is to be told before the next page
    #   _closing     whether a close frame was sent, after which nothing else may be
    #   _goodbye     the close frame to begin with: the session was closed before its upgrade
    __slots__ = (
        "_announced",
        "_begin_anew",
        "_close_timer",
        "_closing",
        "_cursor",
        "_goodbye",
        "_heartbeat",
        "_loop",
        "_out",
        "_pace",
        "_pump_task",
        "_rereading",
        "_services",
        "_serving",
        "_status_due",
        "_unacked",
        "address_id",
        "session_id",
    )

    def __init__(self, address_id: UUID, session_id: UUID, out: SocketWriter, services: SocketContext) -> None:
        self.address_id = address_id
        self.session_id = session_id
        self._out = out
        self._services = services
        self._loop = asyncio.get_running_loop()
        self._pace = ReadThrottle(services.options.max_unwritten_acks, self._loop.time())
        self._cursor = START
        self._announced = _ANY
        self._unacked = InFlightMessages(address_id, services.options.max_unwritten_acks)
        self._begin_anew = self._rereading = False
        self._status_due = True
        self._serving = self._closing = False
        self._goodbye: CloseReason | None = None
        self._heartbeat = Heartbeat(out, services.options.ping_interval_secs, services.options.ping_timeout_secs)
        self._pump_task: asyncio.Task[None] | None = None
        self._close_timer: asyncio.TimerHandle | None = None

    async def serve(self, socket: web.WebSocketResponse) -> None:
        """Run the upgraded socket to its end. All acks it sent are handed on when this returns."""
        self._serving = True
        if self._goodbye is not None:
            self.close(self._goodbye)
        else:
            self._heartbeat.start()
            self._wake_pump()
        try:
            await self._complete_close(await self._read_frames(socket))
        finally:
            self._serving = False
            self._heartbeat.stop()
            if self._close_timer is not None:
                self._close_timer.cancel()
            self._out.close_after_flush()
            if self._pump_task is not None:
                self._pump_task.cancel()
                await asyncio.gather(self._pump_task, return_exceptions=True)
            await self._services.acks.flush(self.address_id)

    def push(self, message: MessageStored) -> None:
        if message.entry <= self._cursor:
            return
        follows = message.previous <= self._cursor and self._pump_task is None and self._serving and not self._closing
        if follows and message.body is not None and self._out.has_room:
            self._out.write(self._unacked.envelope(message.entry, message.sender, message.body))
            self._cursor = message.entry
            self._note_delivery(1)
        else:
            self._announced = max(self._announced, message.entry)
            self._wake_pump()

    def push_pre_key_status(self, count: int) -> None:
        if self._serving and not self._closing:
            self._out.write(frames.pre_key_status(count, self._services.keys.threshold))

    def resync(self) -> None:
        self._announced = _ANY
        self._begin_anew = True
        self._status_due = True
        self._wake_pump()

    def close(self, reason: CloseReason) -> None:
        """Send the close frame; acks that arrive before the peer's answer still count."""
        if not self._serving:
            self._goodbye = reason
        elif not self._closing:
            self._closing = True
            SOCKETS_CLOSED.labels(reason.text).inc()
            self._out.write(rfc6455.close(*reason))
            self._heartbeat.stop()
            self._close_timer = self._loop.call_later(_CLOSE_TIMEOUT_SECS, self.abort)

    @property
    def has_pending_close(self) -> bool:
        """Whether it was closed before its upgrade because its session is over."""
        return self._goodbye in (DEVICE_REPLACED, SESSION_REVOKED)

    def clear_pending_close(self) -> None:
        """Take back what makes `has_pending_close` true."""
        if self.has_pending_close:
            self._goodbye = None

    def abort(self) -> None:
        self._out.abort("no closing handshake")

    # The way in.

    async def _read_frames(self, socket: web.WebSocketResponse) -> WSMessage:
        """Take what the peer sends; returns the last there is: a close frame, an error or the connection's end."""
        turn = 0
        while True:
            frame = await socket.receive()
            self._heartbeat.heard_at = self._loop.time()
            if frame.type is WSMsgType.BINARY:
                if self._take_ack(frame.data) > self._services.options.max_unwritten_acks:
                    await self._write_acks()
            elif frame.type is WSMsgType.PING:
                if not self._closing:
                    self._out.pong(frame.data)
            elif frame.type is WSMsgType.TEXT:
                FRAMES_IGNORED.labels("text").inc()
            elif frame.type is not WSMsgType.PONG:
                return frame
            turn += 1
            if turn % _FRAMES_PER_TURN == 0:
                if pause_secs := self._pace.pause_secs(_FRAMES_PER_TURN, self._loop.time()):
                    READS_PAUSED.inc()
                await asyncio.sleep(pause_secs)

    def _take_ack(self, frame: bytes) -> int:
        """Hand an ack on; returns how many of this user wait to be written. A frame that is none is ignored."""
        message_id = frames.acked_message_id(frame)
        if message_id is None:
            FRAMES_IGNORED.labels("no ack").inc()
            return 0
        acked = self._unacked.see(message_id) if self._rereading else self._unacked.take(message_id)
        if acked is None:
            FRAMES_IGNORED.labels("foreign id").inc()
            return 0
        return self._services.acks.add(self.address_id, *acked)

    async def _write_acks(self) -> None:
        """Read no further: there are more acks than an inbox can hold. Redis is slow or the ids are made up."""
        while not await self._services.acks.flush(self.address_id) and self._out.is_open:
            await asyncio.sleep(_RETRY_SECS)
            self._heartbeat.heard_at = self._loop.time()  # it is not the peer who is silent

    async def _complete_close(self, last: WSMessage) -> None:
        """End as the peer's last frame asks for."""
        already_said, self._closing = self._closing, True
        self._heartbeat.stop()  # no ping behind the close frame
        # Before the answer: who has it may be at another node in no time, and would get again what it acked.
        await self._services.acks.flush(self.address_id)
        if already_said:
            return
        if last.type is WSMsgType.CLOSE:
            self._out.write(rfc6455.close(last.data) if last.data else rfc6455.control(rfc6455.CLOSE_OPCODE))
        elif isinstance(last.data, WebSocketError):
            SOCKETS_CLOSED.labels("protocol error").inc()
            self._out.write(rfc6455.close(last.data.code))
            await self._out.linger(_CLOSE_TIMEOUT_SECS)

    # The way out.

    def _note_delivery(self, count: int) -> None:
        self._pace.allow(count)
        MESSAGES_DELIVERED.inc(count)

    def _wake_pump(self) -> None:
        if self._pump_task is None and self._serving and not self._closing:
            self._pump_task = self._loop.create_task(self._pump())

    async def _pump(self) -> None:
        """Push from the inbox until nothing that was announced lies beyond the cursor."""
        try:
            while self._cursor < self._announced and not self._closing:
                await self._out.drained()
                try:
                    async with self._services.reads:
                        await self._push_status()
                        await self._push_page()
                except StoreUnavailable:
                    await asyncio.sleep(_RETRY_SECS)
        except ConnectionError:
            log.debug("a socket went away while it was written to")
        except Exception:
            log.exception("a socket cannot be served")
            self.close(INTERNAL_ERROR)
        finally:
            self._pump_task = None

    async def _push_status(self) -> None:
        if not self._status_due:
            return
        self._status_due = False
        try:
            shortage = await self._services.keys.low_pre_key_count(self.address_id)
        except StoreUnavailable:
            self._status_due = True
            raise
        if shortage is not None:
            self.push_pre_key_status(shortage)

    async def _push_page(self) -> None:
        """Push the next page, and forget what was announced if nothing lay beyond it."""
        options, messages = self._services.options, self._services.messages
        announced, self._announced = self._announced, START
        try:
            if self._begin_anew:
                await self._return_to_start()
            page = await messages.pending(self.address_id, self._cursor, options.page_size, _PAGE_MAX_BYTES)
            if page.complete:
                announced = START
        finally:
            self._announced = max(self._announced, announced)
        if self._closing:
            return
        entries = (
            [entry for entry in page.entries if entry.id not in self._unacked] if self._rereading else page.entries
        )
        if entries:
            self._out.write(b"".join([self._unacked.envelope(*entry) for entry in entries]))
            self._note_delivery(len(entries))
        if page.complete:
            self._rereading = False
        # Not the greater of the two: after a failover that lost the end of the inbox the new end lies before.
        self._cursor = page.position

    async def _return_to_start(self) -> None:
        """Have the whole inbox read again, without what was acked.

        Raises:
            StoreUnavailable: The acks cannot be written yet.
        """
        self._begin_anew, self._rereading = False, True
        if not await self._services.acks.flush(self.address_id):
            self._begin_anew = True
            raise StoreUnavailable("acks cannot be written")
        self._cursor = START
