"""Every message is told apart: what was lost, doubled, late, changed or not acked."""

import pytest

from obscura.bench.message_tracker import MessageCounts, MessageTracker
from obscura.client.errors import ExchangeError
from obscura.client.frames import envelope
from obscura.v1.obscura_pb2 import EncryptedMessage


def entered(tracker: MessageTracker) -> int:
    number = tracker.open(0)
    tracker.accepted(number)
    return number


def test_the_balance_tells_lost_doubled_late_and_unacked_apart() -> None:
    """Each of four messages has another fate."""
    tracker = MessageTracker(64)
    fine, lost, late, unacked = (entered(tracker) for _ in range(4))
    for number in (fine, unacked, fine):
        tracker.delivered(number)
    tracker.delivered_again(unacked)
    tracker.delivered_again(late)
    assert tracker.counts(received=True) == MessageCounts(
        sent=4, accepted=4, delivered=3, acked=1, duplicates=1, lost=1, late=1
    )
    assert not tracker.counts(received=True).is_balanced
    assert lost not in {fine, late, unacked}


def test_a_message_is_known_by_its_content() -> None:
    """Those of other runs are passed over, and one that was changed is noticed."""
    tracker = MessageTracker(500)
    number = entered(tracker)
    body = tracker.body(number)
    assert len(EncryptedMessage.FromString(body).content) == 500
    assert len(body) == tracker.body_bytes
    received = tracker.read(envelope(body))
    assert received is not None
    assert received.number == number
    foreign = tracker.read(envelope(MessageTracker(500).body(0)))
    assert foreign is not None
    assert foreign.number is None
    with pytest.raises(ExchangeError, match="changed"):
        tracker.read(envelope(body[:-1] + b"!"))
    with pytest.raises(ExchangeError, match="no WebSocketFrame"):
        tracker.read(b"\xff")
