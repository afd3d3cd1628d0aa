"""What one socket was sent and has not acked."""

from obscura.gateway.in_flight import InFlightMessages
from obscura.model.message_ids import EntryId


def in_flight(*sizes: int, max_count: int = 10) -> InFlightMessages:
    """After messages of these sizes, with the entries 1, 2 and so on."""
    messages = InFlightMessages(max_count)
    for number, size in enumerate(sizes, 1):
        messages.add(message_id(number), entry(number), size)
    return messages


def entry(number: int) -> EntryId:
    return EntryId(1_790_000_000_000 + number, number)


def message_id(number: int) -> bytes:
    return b"id %d" % number


def test_what_was_sent_is_known_until_its_ack_is_popped() -> None:
    """With its place and size; an ack that is only peeked at changes nothing."""
    messages = in_flight(100, 200, 300)
    assert messages.pop(message_id(2)) == (entry(2), 200)
    assert messages.peek(message_id(3)) == (entry(3), 300)
    assert [message_id(number) in messages for number in (1, 2, 3)] == [True, False, True]


def test_what_is_not_in_flight_has_no_ack() -> None:
    """Neither what was never sent here nor what was popped before."""
    messages = in_flight(100)
    assert messages.peek(message_id(7)) is messages.pop(message_id(7)) is None
    assert [messages.pop(message_id(1)) for _ in range(2)] == [(entry(1), 100), None]


def test_the_oldest_are_forgotten_past_the_bound() -> None:
    """However many come."""
    messages = in_flight(*[1] * 5, max_count=3)
    assert [message_id(number) in messages for number in range(1, 6)] == [False, False, True, True, True]
