"""What one connection has had and not acked."""

from obscura.frames import EntryId
from obscura.gateway.unacked import Unacked


def entries(first: int, count: int) -> list[EntryId]:
    return [EntryId(number, 0) for number in range(first, first + count)]


def test_what_was_pushed_is_known_until_it_is_acked() -> None:
    """An ack of what was never pushed changes nothing."""
    unacked = Unacked(10)
    unacked.add(entries(1, 3))
    unacked.discard(EntryId(2, 0))
    unacked.discard(EntryId(9, 0))
    assert [entry in unacked for entry in entries(1, 3)] == [True, False, True]


def test_the_oldest_are_forgotten_past_the_bound() -> None:
    """However many come at once."""
    unacked = Unacked(3)
    unacked.add(entries(1, 2))
    unacked.add(entries(3, 3))
    assert [entry in unacked for entry in entries(1, 5)] == [False, False, True, True, True]
