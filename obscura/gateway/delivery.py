"""What one socket is sent: its inbox in order, each message once, and the state of its pre-keys.

The cursor is the whole of the delivery logic. It is the id of the last entry pushed, or
up to which the inbox was seen to be empty. An event whose predecessor the cursor has
reached is pushed straight from the event; after any other the pump reads the inbox from
the cursor on. So each envelope is pushed once per socket and in the order stored,
and a lost, late or doubled event costs latency, never a message.

What is read from the inbox goes out in portions, each when the kernel has taken the one before,
and a message that is larger than a portion in fragments. So between any two of them there is
room for a pong, a ping or a close frame, however slow the line.

After a gap in the events there may be another master, which lacks the end of the inbox
that was pushed, and has messages of the same time instead. So the whole inbox is read
again, without what this socket was sent and has not acked.
"""

import asyncio
import logging
from collections.abc import Iterable, Iterator, Sequence
from uuid import UUID

from obscura.errors import StoreUnavailable
from obscura.gateway.close_codes import INTERNAL_ERROR
from obscura.gateway.closing import ClosingHandshake
from obscura.gateway.formats import rfc6455
from obscura.gateway.formats.frame_format import FrameFormat
from obscura.gateway.in_flight import InFlightMessages
from obscura.gateway.options import SocketContext
from obscura.gateway.read_throttle import ReadThrottle
from obscura.gateway.socket_writer import SocketWriter
from obscura.model.events import MessageStored
from obscura.model.message_ids import START, EntryId
from obscura.observability.metrics.delivery import MESSAGES_DELIVERED
from obscura.tasks import end_tasks

log = logging.getLogger(__name__)

_PAGE_MAX_BYTES = 262_144
_PORTION_BYTES = 16_384  # of a page, written at a time
_RETRY_SECS = 0.5  # while Redis is away
_ANY = EntryId(1 << 64, 0)  # beyond every entry

Entry = tuple[EntryId, bytes, bytes, int | None]  # of an inbox: sender, body, and the time if the id has another


class Delivery:
    """Pushes from events and from the inbox, between `start` and the socket's first close frame.

    Attributes:
        in_flight: What was sent and is not acked.
        is_rereading: Whether the inbox is read again from its start: what is acked now may still be on its way.
    """

    # Attributes that need a word:
    #   _announced   the newest entry told of that may lie beyond the cursor, unread; _ANY if a gap may hide some
    #   _begin_anew  whether a gap was told of since the inbox was last read from its start
    #   _is_amid_message  whether fragments of a message are still to be written
    #   _status_due  whether a shortage of pre-keys is to be told before the next page
    __slots__ = (
        "_address_id",
        "_announced",
        "_begin_anew",
        "_closing",
        "_context",
        "_cursor",
        "_format",
        "_is_amid_message",
        "_pump_task",
        "_status_due",
        "_throttle",
        "_writer",
        "in_flight",
        "is_rereading",
    )

    def __init__(
        self,
        address_id: UUID,
        frame_format: FrameFormat,
        writer: SocketWriter,
        closing: ClosingHandshake,
        throttle: ReadThrottle,
        context: SocketContext,
    ) -> None:
        self._address_id = address_id
        self._format = frame_format
        self._writer = writer
        self._closing = closing
        self._throttle = throttle
        self._context = context
        self._cursor = START
        self._announced = _ANY
        self._begin_anew = self.is_rereading = self._is_amid_message = False
        self._status_due = True
        self._pump_task: asyncio.Task[None] | None = None
        self.in_flight = InFlightMessages(context.options.max_unwritten_acks)

    def start(self) -> None:
        """Begin with the status of pre-keys, if there are few, and what the inbox holds."""
        self._wake_pump()

    async def stop(self) -> None:
        """End; nothing is written when this returns."""
        await end_tasks(self._pump_task)

    def push(self, message: MessageStored) -> None:
        """A message was stored: send it if it is the next, else see to it that the inbox is read."""
        entry, previous, sender, body = message
        if entry <= self._cursor:
            return
        is_next = previous <= self._cursor and self._pump_task is None and self._closing.may_send
        if is_next and body is not None and self._writer.has_room:
            message_id = self._format.message_id(entry)
            self.in_flight.add(message_id, entry, len(body))
            self._writer.write(self._format.envelope(message_id, sender, entry.ms, body))
            self._cursor = entry
            self._count(1)
        else:
            self._announced = max(self._announced, entry)
            self._wake_pump()

    def push_pre_key_status(self, count: int) -> None:
        """One-time pre-keys are few: say how many there are."""
        if self._is_amid_message:  # nothing but control frames may come in between (RFC 6455 section 5.4)
            self._status_due = True
        elif self._closing.may_send:
            self._writer.write(self._format.pre_key_status(count, self._context.keys.threshold))

    def resync(self) -> None:
        """Events may have been missed: read again what they would have told."""
        self._announced = _ANY
        self._begin_anew = True
        self._status_due = True
        self._wake_pump()

    def _count(self, delivered: int) -> None:
        self._throttle.allow(delivered)
        MESSAGES_DELIVERED.inc(delivered)

    def _wake_pump(self) -> None:
        if self._pump_task is None and self._closing.may_send:
            self._pump_task = asyncio.create_task(self._pump())

    async def _pump(self) -> None:
        """Push from the inbox until nothing that was announced lies beyond the cursor."""
        try:
            while (self._cursor < self._announced or self._status_due) and self._closing.may_send:
                await self._writer.drained()
                try:
                    async with self._context.reads:
                        await self._push_status()
                        page = await self._read_page()
                    await self._push_page(*page)
                except StoreUnavailable:
                    await asyncio.sleep(_RETRY_SECS)
        except ConnectionError:
            log.debug("a socket went away while it was written to")
        except Exception:
            log.exception("a socket cannot be served")
            self._closing.close(INTERNAL_ERROR)
        finally:
            self._pump_task = None

    async def _push_status(self) -> None:
        if not self._status_due:
            return
        self._status_due = False
        try:
            count = await self._context.keys.low_pre_key_count(self._address_id)
        except StoreUnavailable:
            self._status_due = True
            raise
        if count is not None:
            self.push_pre_key_status(count)

    async def _read_page(self) -> tuple[Sequence[Entry], EntryId, bool]:
        """Read the next page, and forget what was announced if nothing lay beyond it.

        Returns its entries, the position up to which nothing is unread, and whether that is the end.
        """
        announced, self._announced = self._announced, START
        try:
            if self._begin_anew:
                await self._return_to_start()
            page = await self._context.messages.pending(
                self._address_id, self._cursor, self._context.options.page_size, _PAGE_MAX_BYTES
            )
            if page.complete:
                announced = START
        finally:
            self._announced = max(self._announced, announced)
        return page.entries, page.position, page.complete

    async def _push_page(self, entries: Sequence[Entry], position: EntryId, is_complete: bool) -> None:
        """Push a page. While it goes out, however slow the line, others may read theirs."""
        for portion in _portions(self._not_in_flight(entries) if self.is_rereading else entries):
            await self._writer.drained()
            if not self._closing.may_send:
                return
            await self._write(portion)
        if is_complete:
            self.is_rereading = False
        # Not the greater of the two: after a failover that lost the end of the inbox the new end lies before.
        self._cursor = position

    def _not_in_flight(self, entries: Iterable[Entry]) -> list[Entry]:
        return [entry for entry in entries if self._format.message_id(entry[0]) not in self.in_flight]

    async def _write(self, entries: Sequence[Entry]) -> None:
        message_id_of, remember = self._format.message_id, self.in_flight.add
        envelopes = []
        for entry, sender, body, sent_ms in entries:
            message_id = message_id_of(entry)
            remember(message_id, entry, len(body))
            envelopes.append((message_id, sender, entry.ms if sent_ms is None else sent_ms, body))
        self._count(len(envelopes))
        frames = self._format.envelopes(envelopes)
        if len(envelopes) > 1 or len(frames) <= _PORTION_BYTES:
            self._writer.write(frames)
        else:
            await self._write_in_fragments(frames)

    async def _write_in_fragments(self, message: bytes) -> None:
        self._is_amid_message = True
        for fragment in rfc6455.fragments(message, _PORTION_BYTES):
            await self._writer.drained()
            if not self._closing.may_send:  # nothing follows a close frame (RFC 6455 section 5.5.1)
                return
            self._writer.write(fragment)
        self._is_amid_message = False

    async def _return_to_start(self) -> None:
        """Have the whole inbox read again, without what was acked.

        Raises:
            StoreUnavailable: The acks cannot be written yet.
        """
        self._begin_anew, self.is_rereading = False, True
        if not await self._context.acks.flush(self._address_id):
            self._begin_anew = True
            raise StoreUnavailable("acks cannot be written")
        self._cursor = START


def _portions(entries: Iterable[Entry]) -> Iterator[list[Entry]]:
    """Divide entries, in their order: a portion has up to so many bytes of bodies, or a single one."""
    portion: list[Entry] = []
    size = 0
    for entry in entries:
        size += len(entry[2])
        if portion and size > _PORTION_BYTES:
            yield portion
            portion, size = [], len(entry[2])
        portion.append(entry)
    if portion:
        yield portion
