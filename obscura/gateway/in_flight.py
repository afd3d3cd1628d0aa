"""What one socket was sent and has not acked."""

from obscura.model.acks import Ack
from obscura.model.message_ids import EntryId

_new = tuple.__new__  # what making a NamedTuple comes to, less a call of Python for each message


class InFlightMessages:
    """Remembers messages by the id that the socket's format gives them.

    Args:
        max_count: More than an inbox holds. Past it the oldest are forgotten, as they are gone from there.
    """

    __slots__ = ("_by_id", "_max_count")

    def __init__(self, max_count: int) -> None:
        self._max_count = max_count
        self._by_id: dict[bytes, Ack] = {}  # in the order of their sending

    def __contains__(self, message_id: bytes) -> bool:
        return message_id in self._by_id

    @property
    def oldest(self) -> Ack | None:
        """What was sent first of all that is not acked."""
        return next(iter(self._by_id.values()), None)

    @property
    def largest(self) -> Ack | None:
        """What has the largest body."""
        return max(self._by_id.values(), key=lambda ack: ack.body_bytes or 0, default=None)

    def add(self, message_id: bytes, entry: EntryId, body_bytes: int) -> None:
        """A message is sent now."""
        self._by_id[message_id] = _new(Ack, (entry, body_bytes))
        if len(self._by_id) > self._max_count:
            del self._by_id[next(iter(self._by_id))]

    def pop(self, message_id: bytes) -> Ack | None:
        """The ack of a message, which is forgotten with this; None if it is not in flight."""
        return self._by_id.pop(message_id, None)

    def peek(self, message_id: bytes) -> Ack | None:
        """The ack of a message, and nothing is forgotten."""
        return self._by_id.get(message_id)
