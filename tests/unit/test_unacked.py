"""What one connection has had and not acked."""

from obscura.frames import EntryId
from obscura.gateway.unacked import Unacked


def test_what_was_pushed_is_known_until_it_is_acked() -> None:
    """By the id that clients know, with its place and size; an ack of what was never pushed changes nothing."""
    unacked = Unacked(10)
    for number in range(1, 4):
        unacked.add(f"id{number}", EntryId(number, 0), 100 * number)
    unacked.discard("id2")
    unacked.discard("id9")
    assert [f"id{number}" in unacked for number in range(1, 4)] == [True, False, True]
    assert [unacked.get(f"id{number}") for number in (2, 3)] == [None, (EntryId(3, 0), 300)]


def test_the_oldest_are_forgotten_past_the_bound() -> None:
    """However many come."""
    unacked = Unacked(3)
    for number in range(1, 6):
        unacked.add(f"id{number}", EntryId(number, 0), 1)
    assert [f"id{number}" in unacked for number in range(1, 6)] == [False, False, True, True, True]
