"""One gateway socket: pushes its user's inbox, takes acks, keeps the peer alive, says goodbye.

The cursor is the whole of the delivery logic. It is the id of the last entry pushed, or
up to which the inbox was seen to be empty. An event whose predecessor the cursor has
reached is pushed straight from the event; after any other the pump reads the inbox from
the cursor on. So each envelope is pushed once per connection and in the order stored,
and a lost, late or doubled event costs latency, never a message.
"""

import asyncio
import logging
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from aiohttp import WSMsgType, web

from obscura import frames
from obscura.errors import StoreUnavailable
from obscura.events import MessageStored
from obscura.frames import EntryId, MessageIds
from obscura.gateway.acks import Acks
from obscura.gateway.outbound import Outbound
from obscura.services.keys import Keys
from obscura.services.messages import Messages
from obscura.telemetry import FRAMES_IGNORED, MESSAGES_DELIVERED, SOCKETS_CLOSED

log = logging.getLogger(__name__)

_PAGE_MAX_BYTES = 262_144
_RETRY_SECS = 0.5  # between reads of the inbox while Redis is away
_FRAMES_PER_TURN = 64  # then the other sockets get theirs
_CLOSE_TIMEOUT_SECS = 2.0


@dataclass(frozen=True, slots=True)
class SocketRules:
    """Settings of every socket. `max_unwritten_acks` bounds what a client can make a node remember."""

    page_size: int
    outbound_size: int
    write_timeout_secs: float
    ping_interval_secs: float
    ping_timeout_secs: float
    max_unwritten_acks: int


@dataclass(frozen=True, slots=True)
class SocketServices:
    """What every socket of a node shares. `reads` bounds the inbox pages in memory at a time."""

    rules: SocketRules
    messages: Messages
    keys: Keys
    acks: Acks
    reads: asyncio.Semaphore


class Session:
    """A socket from before its upgrade to after its end.

    It joins the hub before the upgrade, so that failures are answered over HTTP; what the
    hub tells it until `serve` is made up for by the first read of the inbox.
    """

    __slots__ = (
        "_closing",
        "_cursor",
        "_goodbye",
        "_heard_at",
        "_ids",
        "_known",
        "_loop",
        "_out",
        "_pinged_at",
        "_pump_task",
        "_services",
        "_serving",
        "_status_due",
        "_timer",
        "session_id",
        "user_id",
    )

    def __init__(self, user_id: UUID, session_id: UUID, out: Outbound, services: SocketServices) -> None:
        self.user_id = user_id
        self.session_id = session_id
        self._out = out
        self._services = services
        self._ids = MessageIds(user_id)
        self._loop = asyncio.get_running_loop()
        self._cursor = self._known = frames.START
        self._status_due = True
        self._serving = self._closing = False
        self._goodbye: tuple[int, str] | None = None
        self._heard_at = self._pinged_at = 0.0
        self._pump_task: asyncio.Task[None] | None = None
        self._timer: asyncio.TimerHandle | None = None

    async def serve(self, socket: web.WebSocketResponse) -> None:
        """Run the upgraded socket to its end. All acks it sent are handed on when this returns."""
        self._serving = True
        if self._goodbye is not None:
            self.close(*self._goodbye)
        else:
            # Spread over the interval: sockets that came together, as after a deploy, are not pinged together.
            self._set_timer(random.uniform(0.5, 1) * self._services.rules.ping_interval_secs, self._ping)  # noqa: S311
            self._wake_pump()
        try:
            await self._read_frames(socket)
        finally:
            self._serving = False
            self._cancel_timer()
            self._out.finish()
            if self._pump_task is not None:
                self._pump_task.cancel()
                await asyncio.gather(self._pump_task, return_exceptions=True)
            await self._services.acks.flush(self.user_id)

    def push(self, message: MessageStored) -> None:
        self._known = max(self._known, message.entry)
        if not self._serving or self._closing or message.entry <= self._cursor:
            return
        follows = self._pump_task is None and message.previous <= self._cursor
        if follows and message.body is not None and self._out.has_room:
            self._out.write(self._envelope(message.entry, message.sender, message.body))
            self._cursor = message.entry
            MESSAGES_DELIVERED.inc()
        else:
            self._wake_pump()

    def push_shortage(self, count: int) -> None:
        if self._serving and not self._closing:
            self._out.write(frames.pre_key_status(count, self._services.keys.threshold))

    def rescan(self) -> None:
        self._status_due = True
        self._wake_pump()

    def close(self, code: int, reason: str) -> None:
        """Send the close frame; acks that arrive before the peer's answer still count."""
        if not self._serving:
            self._goodbye = (code, reason)
        elif not self._closing:
            self._closing = True
            SOCKETS_CLOSED.labels(reason).inc()
            self._out.write(frames.close(code, reason))
            self._set_timer(_CLOSE_TIMEOUT_SECS, self._out.cut_off, "no closing handshake")

    # The way in.

    async def _read_frames(self, socket: web.WebSocketResponse) -> None:
        turn = 0
        while True:
            frame = await socket.receive()
            self._heard_at = self._loop.time()
            if frame.type is WSMsgType.BINARY:
                await self._on_binary(frame.data)
            elif frame.type is WSMsgType.PING:
                if not self._closing:
                    self._out.pong(frame.data)
            elif frame.type is WSMsgType.TEXT:
                FRAMES_IGNORED.labels("text").inc()
            elif frame.type is not WSMsgType.PONG:
                self._on_end(frame.type, frame.data)
                return
            turn += 1
            if turn % _FRAMES_PER_TURN == 0:
                await asyncio.sleep(0)

    async def _on_binary(self, data: bytes) -> None:
        message_id = frames.acked_message_id(data)
        if message_id is None:
            FRAMES_IGNORED.labels("no ack").inc()
            return
        entry = self._ids.decode(message_id)
        if entry is None:
            FRAMES_IGNORED.labels("foreign id").inc()
        elif self._services.acks.add(self.user_id, entry) > self._services.rules.max_unwritten_acks:
            # More than an inbox can hold: Redis is slow or the ids are made up. Read no further meanwhile.
            while not await self._services.acks.flush(self.user_id):  # noqa: ASYNC110  Redis sends no event when it is back
                await asyncio.sleep(_RETRY_SECS)

    def _on_end(self, kind: WSMsgType, data: Any) -> None:
        if kind is WSMsgType.CLOSE and not self._closing:
            code = data if isinstance(data, int) and data >= 1000 else 1000
            self._out.write(frames.close(code))

    # The way out.

    def _envelope(self, entry: EntryId, sender: bytes, body: bytes) -> bytes:
        return frames.envelope(self._ids.encode(entry), sender, entry.ms, body)

    def _wake_pump(self) -> None:
        if self._pump_task is None and self._serving and not self._closing:
            self._pump_task = self._loop.create_task(self._pump())

    async def _pump(self) -> None:
        """Push from the inbox until the cursor has reached all that was announced."""
        try:
            while not self._closing:
                announced = self._known
                if await self._push_status() and await self._push_page() and self._known == announced:
                    break
        except ConnectionError:
            log.debug("a socket went away while it was written to")
        finally:
            self._pump_task = None

    async def _push_status(self) -> bool:
        """Tell a shortage of pre-keys if that is due; returns whether the pump may go on."""
        if not self._status_due:
            return True
        try:
            shortage = await self._services.keys.shortage(self.user_id)
        except StoreUnavailable:
            await asyncio.sleep(_RETRY_SECS)
            return False
        self._status_due = False
        if shortage is not None:
            self.push_shortage(shortage)
        return True

    async def _push_page(self) -> bool:
        """Push one page; returns whether nothing lay beyond it."""
        await self._out.drained()
        rules, messages = self._services.rules, self._services.messages
        try:
            async with self._services.reads:
                page = await messages.pending(self.user_id, self._cursor, rules.page_size, _PAGE_MAX_BYTES)
        except StoreUnavailable:
            await asyncio.sleep(_RETRY_SECS)
            return False
        if self._closing:
            return True
        if page.entries:
            self._out.write(b"".join(self._envelope(entry.id, entry.sender, entry.body) for entry in page.entries))
            MESSAGES_DELIVERED.inc(len(page.entries))
        # Not the greater of the two: after a failover that lost the end of the inbox the new end lies before.
        self._cursor = page.position
        return page.complete

    # Keeping alive.

    def _set_timer(self, delay_secs: float, callback: Callable[..., None], *args: object) -> None:
        self._cancel_timer()
        self._timer = self._loop.call_later(delay_secs, callback, *args)

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def _ping(self) -> None:
        rules = self._services.rules
        if self._out.is_empty:
            self._pinged_at = self._loop.time()
            self._out.write(frames.control(frames.PING_OPCODE))
            self._set_timer(rules.ping_timeout_secs, self._check_for_pong)
        else:
            # A ping would queue behind what waits. Whether the peer takes that is watched already.
            self._set_timer(rules.ping_interval_secs, self._ping)

    def _check_for_pong(self) -> None:
        rules = self._services.rules
        if self._heard_at < self._pinged_at:
            self._out.cut_off("ping timeout")
        else:
            self._set_timer(max(0.0, rules.ping_interval_secs - rules.ping_timeout_secs), self._ping)
