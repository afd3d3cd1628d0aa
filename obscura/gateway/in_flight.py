"""What one connection has had and not acked: the frames of its messages, and what its acks name."""

from typing import NamedTuple
from uuid import UUID

from obscura.gateway.formats import frames_0_3 as frames
from obscura.model.message_ids import EntryId, MessageIds


class Acked(NamedTuple):
    """A message that an ack names. `size` is its body's in bytes, None if another connection was sent it."""

    entry: EntryId
    size: int | None


class InFlightMessages:
    """Args:
    max_count: More than an inbox holds. Past it the oldest are forgotten, as they are gone from there.
    """

    __slots__ = ("_ids", "_max_count", "_pushed")

    def __init__(self, user_id: UUID, max_count: int) -> None:
        self._ids = MessageIds(user_id)
        self._max_count = max_count
        self._pushed: dict[str, Acked] = {}  # by message id, in the order of their pushing

    def __contains__(self, entry: EntryId) -> bool:
        return self._ids.encode(entry) in self._pushed

    def envelope(self, entry: EntryId, sender: bytes, body: bytes) -> bytes:
        """The WebSocket message of an envelope that is pushed now, and noted as such."""
        message_id = self._ids.encode(entry)
        self._pushed[message_id] = Acked(entry, len(body))
        if len(self._pushed) > self._max_count:
            del self._pushed[next(iter(self._pushed))]
        return frames.envelope(message_id, sender, entry.ms, body)

    def take(self, message_id: str) -> Acked | None:
        """What an ack names, which is forgotten with this; None if it is not of this user's inbox."""
        acked = self._pushed.pop(message_id, None)
        return self._decode(message_id) if acked is None else acked

    def see(self, message_id: str) -> Acked | None:
        """What an ack names, and nothing is forgotten."""
        return self._pushed.get(message_id) or self._decode(message_id)

    def _decode(self, message_id: str) -> Acked | None:
        entry = self._ids.decode(message_id)
        return None if entry is None else Acked(entry, None)
