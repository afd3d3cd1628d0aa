"""What one connection has had and not acked: not to be sent to it again when its inbox is read from the start."""

from typing import NamedTuple

from obscura.frames import EntryId


class Pushed(NamedTuple):
    """A message that a connection was sent. `size` is its body's in bytes."""

    entry: EntryId
    size: int


class Unacked:
    """By message id, as the acks name it.

    Args:
        max_count: More than an inbox holds. Past it the oldest are forgotten, as they are gone from there.
    """

    __slots__ = ("_max_count", "_pushed")

    def __init__(self, max_count: int) -> None:
        self._max_count = max_count
        self._pushed: dict[str, Pushed] = {}  # in the order of their pushing

    def __contains__(self, message_id: str) -> bool:
        return message_id in self._pushed

    def add(self, message_id: str, entry: EntryId, size: int) -> None:
        """Note what was pushed."""
        self._pushed[message_id] = Pushed(entry, size)
        if len(self._pushed) > self._max_count:
            del self._pushed[next(iter(self._pushed))]

    def get(self, message_id: str) -> Pushed | None:
        """What was pushed under an id, if that was noted."""
        return self._pushed.get(message_id)

    def discard(self, message_id: str) -> None:
        """Forget what was acked, if it was noted."""
        self._pushed.pop(message_id, None)
