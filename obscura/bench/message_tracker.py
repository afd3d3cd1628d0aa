"""Every message of a run, from the send to the ack: none may be missing, none may come twice."""

import asyncio
import os
from dataclasses import dataclass

from obscura.client import frames
from obscura.client.errors import ExchangeError

_ACCEPTED, _DELIVERED, _ACKED = 1, 2, 4
_MARKER = 8  # no message of the run, but the last one of the audit
_TAG_BYTES = _NUMBER_BYTES = 8


@dataclass(slots=True)
class MessageCounts:
    """How many messages came how far. ``None``: the scenario does not go that far."""

    sent: int = 0
    accepted: int = 0
    delivered: int | None = None
    acked: int | None = None
    duplicates: int = 0
    lost: int = 0
    late: int = 0  # delivered, but only on a second connection

    def add(self, other: "MessageCounts") -> None:
        self.sent += other.sent
        self.accepted += other.accepted
        self.delivered = _sum(self.delivered, other.delivered)
        self.acked = _sum(self.acked, other.acked)
        self.duplicates += other.duplicates
        self.lost += other.lost
        self.late += other.late

    @property
    def is_balanced(self) -> bool:
        """Whether each message was accepted, and arrived and was acked once where that was to be."""
        return (
            not (self.duplicates or self.lost or self.late)
            and self.accepted == self.sent
            and self.delivered in {None, self.sent}
            and self.acked in {None, self.sent}
        )


def _sum(one: int | None, other: int | None) -> int | None:
    return other if one is None else one if other is None else one + other


@dataclass(frozen=True, slots=True)
class Received:
    """An envelope as the tracker knows it. ``number`` is None for one that is not of this run."""

    envelope_id: str
    number: int | None


class MessageTracker:
    """Numbers the messages of one process and notes how far each came."""

    def __init__(self, size_bytes: int) -> None:
        self._tag = os.urandom(_TAG_BYTES)
        self._padding = bytes(size_bytes - _TAG_BYTES - _NUMBER_BYTES)
        self._body_start = frames.message_start(size_bytes) + self._tag
        self._starts: list[float] = []
        self._states = bytearray()
        self._waiting: dict[int, asyncio.Future[None]] = {}
        self._duplicates = self._late = 0

    @property
    def body_bytes(self) -> int:
        return len(self._body_start) + _NUMBER_BYTES + len(self._padding)

    def open(self, started: float) -> int:
        """Enter a new message, and return its number."""
        self._starts.append(started)
        self._states.append(0)
        return len(self._starts) - 1

    def open_marker(self) -> int:
        """Enter a message that the counts leave out, and return its number."""
        number = self.open(0)
        self._states[number] = _MARKER
        return number

    def body(self, number: int) -> bytes:
        """The message as it is posted."""
        return self._body_start + number.to_bytes(_NUMBER_BYTES, "big") + self._padding

    def started(self, number: int) -> float:
        return self._starts[number]

    def accepted(self, number: int) -> None:
        self._states[number] |= _ACCEPTED

    def read(self, frame: bytes) -> Received | None:
        """What a frame of the gateway brings; None if that is no envelope.

        Raises:
            ExchangeError: It is no frame of the protocol, or its message was changed on the way.
        """
        parsed = frames.parse(frame)
        if parsed.WhichOneof("payload") != "envelope":
            return None
        content = parsed.envelope.message.content
        if not content.startswith(self._tag):
            return Received(parsed.envelope.id, None)
        number = int.from_bytes(content[_TAG_BYTES : _TAG_BYTES + _NUMBER_BYTES], "big")
        if number >= len(self._states) or content[_TAG_BYTES + _NUMBER_BYTES :] != self._padding:
            raise ExchangeError("message was changed")
        return Received(parsed.envelope.id, number)

    def delivered(self, number: int) -> bool:
        """Note a delivery during the run; False if it was not the first."""
        if self._states[number] & _DELIVERED:
            self._duplicates += 1
            return False
        self._states[number] |= _DELIVERED | _ACKED  # its ack is written in the same breath
        if (waiter := self._waiting.pop(number, None)) is not None and not waiter.done():
            waiter.set_result(None)
        return True

    def delivered_again(self, number: int) -> None:
        """Note a delivery on the second connection: the ack was lost, or the first delivery was."""
        if self._states[number] & _ACKED:
            self._states[number] &= ~_ACKED
        elif not self._states[number] & _DELIVERED:
            self._states[number] |= _DELIVERED
            self._late += 1
        else:
            self._duplicates += 1

    async def until_delivered(self, number: int, timeout_secs: float) -> None:
        """Wait for a delivery; `ExchangeError` if it does not come in time."""
        if self._states[number] & _DELIVERED:
            return
        loop = asyncio.get_running_loop()
        waiter = self._waiting[number] = loop.create_future()
        timer = loop.call_later(timeout_secs, _give_up, waiter)
        try:
            await waiter
        finally:
            timer.cancel()
            self._waiting.pop(number, None)

    def drained(self) -> bool:
        """Whether all that was accepted has been delivered."""
        return all(state & _DELIVERED for state in self._states if state & _ACCEPTED)

    def counts(self, *, received: bool) -> MessageCounts:
        """The balance. Without ``received`` nobody was there to take the messages."""
        states = [state for state in self._states if not state & _MARKER]
        accepted = sum(bool(state & _ACCEPTED) for state in states)
        if not received:
            return MessageCounts(sent=len(states), accepted=accepted)
        return MessageCounts(
            sent=len(states),
            accepted=accepted,
            delivered=sum(bool(state & _DELIVERED) for state in states),
            acked=sum(bool(state & _ACKED) for state in states),
            duplicates=self._duplicates,
            lost=sum(state & (_ACCEPTED | _DELIVERED) == _ACCEPTED for state in states),
            late=self._late,
        )


def _give_up(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_exception(ExchangeError("not delivered in time"))
