"""What one connection has had and not acked: not to be sent to it again when its inbox is read from the start."""

from collections.abc import Iterable

from obscura.frames import EntryId


class Unacked:
    """Args:
    max_count: More than an inbox holds. Past it the oldest are forgotten, as they are gone from there.
    """

    __slots__ = ("_entries", "_max_count")

    def __init__(self, max_count: int) -> None:
        self._max_count = max_count
        self._entries: dict[EntryId, None] = {}  # in the order of their pushing

    def __contains__(self, entry: EntryId) -> bool:
        return entry in self._entries

    def add(self, entries: Iterable[EntryId]) -> None:
        """Note what was pushed."""
        self._entries |= dict.fromkeys(entries)
        while len(self._entries) > self._max_count:
            del self._entries[next(iter(self._entries))]

    def discard(self, entry: EntryId) -> None:
        """Forget what was acked, if it was noted."""
        self._entries.pop(entry, None)
