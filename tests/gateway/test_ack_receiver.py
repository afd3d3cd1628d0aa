"""Which acks of a socket count."""

from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import pytest

from obscura.gateway.ack_receiver import AckReceiver
from obscura.gateway.formats.frames_0_3 import Frames03
from obscura.gateway.in_flight import InFlightMessages
from obscura.model.acks import Ack
from obscura.model.message_ids import EntryId, MessageIds
from obscura.v1.obscura_pb2 import WebSocketFrame
from tests.support.client import ack_frame
from tests.support.inspection import metric

ADDRESS = uuid4()
MAX_UNWRITTEN = 3


class Acks:
    """Keeps the acks it is given."""

    def __init__(self) -> None:
        self.added: list[Ack] = []

    def add(self, address_id: UUID, ack: Ack) -> int:
        assert address_id == ADDRESS
        self.added.append(ack)
        return len(self.added)


class Peer:
    """A receiver, and the socket that it is of, which was sent the messages 1 and 2."""

    def __init__(self) -> None:
        self.frames = Frames03(ADDRESS)
        self.acks = Acks()
        self.delivery = SimpleNamespace(in_flight=InFlightMessages(10), is_rereading=False)
        for number in (1, 2):
            self.delivery.in_flight.add(self.frames.message_id(entry(number)), entry(number), 100 * number)
        context: Any = SimpleNamespace(acks=self.acks, options=SimpleNamespace(max_unwritten_acks=MAX_UNWRITTEN))
        delivery: Any = self.delivery
        self.receiver = AckReceiver(ADDRESS, self.frames, delivery, context)

    def ack(self, number: int) -> bool:
        return self.receive(ack_frame(self.frames.message_id(entry(number)).decode()))

    def receive(self, frame: bytes) -> bool:
        return self.receiver.receive(self.receiver.named_in(frame))


@pytest.fixture
def peer() -> Peer:
    return Peer()


def entry(number: int) -> EntryId:
    return EntryId(1_790_000_000_000 + number, number)


def ignored(reason: str) -> float:
    return metric("obscura_gateway_frames_ignored_total", reason=reason)


def test_an_ack_of_what_was_sent_tells_its_size(peer: Peer) -> None:
    """Which spares Redis the look."""
    assert peer.ack(2)
    assert peer.acks.added == [(entry(2), 200)]


def test_an_ack_of_what_another_socket_was_sent_names_its_place_alone(peer: Peer) -> None:
    """Also the second ack of what was sent here."""
    for number in (7, 1, 1):
        peer.ack(number)
    assert peer.acks.added == [(entry(7), None), (entry(1), 100), (entry(1), None)]


def test_what_is_acked_stays_known_while_the_inbox_is_read_again(peer: Peer) -> None:
    """A page that was read before the ack was written may still hold it."""
    peer.delivery.is_rereading = True
    for _ in range(2):
        peer.ack(1)
    assert peer.acks.added == [(entry(1), 100)] * 2
    assert peer.frames.message_id(entry(1)) in peer.delivery.in_flight


def test_every_id_of_a_list_is_an_ack(peer: Peer) -> None:
    """And what is foreign among them is counted, and spoils nothing."""
    before = ignored("foreign id")
    ids = [peer.frames.message_id(entry(number)).decode() for number in (1, 2)]
    assert peer.receive(ack_frame("", ids[0], "no id", ids[1]))
    assert peer.acks.added == [(entry(1), 100), (entry(2), 200)]
    assert ignored("foreign id") == before + 1


@pytest.mark.parametrize(
    "message_id", [MessageIds(uuid4()).encode(entry(1)).decode(), "no id", ""], ids=["other", "none", "empty"]
)
def test_an_ack_of_another_inbox_is_ignored(peer: Peer, message_id: str) -> None:
    """Or of no message at all."""
    before = ignored("foreign id")
    assert peer.receive(ack_frame(message_id))
    assert peer.acks.added == []
    assert ignored("foreign id") == before + 1


@pytest.mark.parametrize("frame", [b"", b"\xff" * 40, WebSocketFrame().SerializeToString()])
def test_what_is_no_ack_is_ignored(peer: Peer, frame: bytes) -> None:
    """And counted as such."""
    before = ignored("no ack")
    assert peer.receive(frame)
    assert peer.acks.added == []
    assert ignored("no ack") == before + 1


def test_more_acks_than_an_inbox_holds_are_to_be_written_first(peer: Peer) -> None:
    """What tells so has been taken all the same."""
    assert [peer.ack(number) for number in range(5)] == [True] * MAX_UNWRITTEN + [False] * 2
    assert len(peer.acks.added) == 5
