"""The acks of one socket: which count, and what becomes of them."""

from collections.abc import Sequence
from uuid import UUID

from obscura.gateway.delivery import Delivery
from obscura.gateway.formats.frame_format import FrameFormat
from obscura.gateway.options import SocketContext
from obscura.model.acks import Ack
from obscura.observability.metrics.gateway import FRAMES_IGNORED


class AckReceiver:
    """Hands on what the peer acks; what is no ack of this inbox is counted and ignored."""

    __slots__ = ("_acks", "_address_id", "_delivery", "_format", "_max_unwritten")

    def __init__(self, address_id: UUID, frame_format: FrameFormat, delivery: Delivery, context: SocketContext) -> None:
        self._address_id = address_id
        self._format = frame_format
        self._delivery = delivery
        self._acks = context.acks
        self._max_unwritten = context.options.max_unwritten_acks

    def named_in(self, frame: bytes) -> Sequence[bytes]:
        """The ids of what a binary frame acks, for `receive`: none or thousands, known or not."""
        message_ids = self._format.acked(frame)
        if not message_ids:
            FRAMES_IGNORED.labels("no ack").inc()
        return message_ids

    def receive(self, message_ids: Sequence[bytes]) -> bool:
        """Take acks. False: more of them wait to be written than an inbox can hold, so `flush` comes first."""
        in_flight = self._delivery.in_flight
        find = in_flight.peek if self._delivery.is_rereading else in_flight.pop
        waiting = 0
        for message_id in message_ids:
            ack = find(message_id) or self._of_another_socket(message_id)
            if ack is None:
                FRAMES_IGNORED.labels("foreign id").inc()
            else:
                waiting = self._acks.add(self._address_id, ack)
        return waiting <= self._max_unwritten

    async def flush(self) -> bool:
        """Have what was acked written. False: Redis is away; it is tried again."""
        return await self._acks.flush(self._address_id)

    def _of_another_socket(self, message_id: bytes) -> Ack | None:
        """The ack of a message that an earlier or another socket of this inbox was sent, or that was acked before."""
        entry = self._format.entry_of(message_id)
        return None if entry is None else Ack(entry, None)
