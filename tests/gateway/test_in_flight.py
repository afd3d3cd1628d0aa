"""What one connection has had and not acked."""

from uuid import uuid4

from obscura.gateway.in_flight import InFlightMessages
from obscura.model.message_ids import EntryId, MessageIds

USER = uuid4()
SENDER = b"7d444840-9dc0-11d1-b245-5ffdce74fad2"


def unacked_of(*sizes: int, max_count: int = 10) -> InFlightMessages:
    """After messages of these sizes, with the entries 1, 2 and so on."""
    unacked = InFlightMessages(USER, max_count)
    for number, size in enumerate(sizes, 1):
        assert unacked.envelope(entry(number), SENDER, b"x" * size).endswith(b"x" * size)
    return unacked


def entry(number: int) -> EntryId:
    return EntryId(1_790_000_000_000 + number, number)


def message_id(number: int) -> str:
    return MessageIds(USER).encode(entry(number))


def test_what_was_pushed_is_known_until_its_ack_is_taken() -> None:
    """With its place and size; an ack that is only seen changes nothing."""
    unacked = unacked_of(100, 200, 300)
    assert unacked.take(message_id(2)) == (entry(2), 200)
    assert unacked.see(message_id(3)) == (entry(3), 300)
    assert [entry(number) in unacked for number in (1, 2, 3)] == [True, False, True]


def test_an_ack_of_what_another_connection_had_names_its_place_alone() -> None:
    """Also the second ack of what was pushed here."""
    unacked = unacked_of(100)
    assert unacked.see(message_id(7)) == unacked.take(message_id(7)) == (entry(7), None)
    assert [unacked.take(message_id(1)) for _ in range(2)] == [(entry(1), 100), (entry(1), None)]


def test_an_ack_of_another_inbox_names_nothing() -> None:
    """Nor one of no message at all."""
    unacked = unacked_of(100)
    for foreign in (MessageIds(uuid4()).encode(entry(1)), "no id", ""):
        assert (unacked.take(foreign), unacked.see(foreign)) == (None, None)


def test_the_oldest_are_forgotten_past_the_bound() -> None:
    """However many come."""
    unacked = unacked_of(*[1] * 5, max_count=3)
    assert [entry(number) in unacked for number in range(1, 6)] == [False, False, True, True, True]
