"""Envelopes at which connections of their recipient end are counted and logged."""

from uuid import uuid4

import pytest
from aiohttp import WebSocketError, WSMessage, WSMsgType

from obscura.gateway import unacked_ends
from obscura.gateway.in_flight import InFlightMessages
from obscura.gateway.unacked_ends import UnackedEnds
from obscura.model.message_ids import EntryId
from tests.gateway.sockets import raw
from tests.support.client import Api, User, ack_frame, encrypted
from tests.support.inspection import metric
from tests.support.raw_socket import BINARY, CLOSE
from tests.support.waiting import eventually

GONE = WSMessage(WSMsgType.CLOSED, None, None)


def close(code: int) -> WSMessage:
    return WSMessage(WSMsgType.CLOSE, code, "")


def in_flight(*numbers: int) -> InFlightMessages:
    """Messages that were sent and not acked; the size of each is 100 times its number, of the third it is 5."""
    messages = InFlightMessages(10)
    for number in numbers:
        messages.add(b"id %d" % number, EntryId(number, 0), 5 if number == 3 else 100 * number)
    return messages


def rejected() -> float:
    return metric("obscura_messages_rejected_total")


@pytest.fixture
def ends() -> UnackedEnds:
    return UnackedEnds()


async def give_up(user: User, expected: int, code: int) -> None:
    """Connect, ack the small messages, and end the connection as a library that finds one too large."""
    socket = await raw(user)
    for envelope in await socket.envelopes(expected):
        if len(envelope.message.content) < 1000:
            await socket.send(BINARY, ack_frame(envelope.id))
    await socket.send(CLOSE, code.to_bytes(2, "big"))
    assert (await socket.frame()).close_code == code


async def test_a_message_that_no_connection_survives_is_counted_and_logged(
    api: Api, caplog: pytest.LogCaptureFixture
) -> None:
    """At the third connection in a row, once, with its size and the close code, and without a name."""
    alice, bob = await api.register(), await api.register()
    content = bytes(100_000)
    await alice.deliver(bob, b"small", content, b"behind it")
    before = rejected()
    await give_up(bob, 3, 1009)
    for _ in range(3):
        await give_up(bob, 1, 1009)
    await eventually(lambda: rejected() == before + 1)
    (record,) = [one for one in caplog.records if one.name == unacked_ends.__name__]
    told = record.__dict__
    assert (told["connections"], told["body_bytes"], told["close_code"]) == (3, len(encrypted(content)), 1009)
    assert bob.id not in caplog.text


@pytest.mark.parametrize("last", [close(1011), close(1002), GONE], ids=["1011", "1002", "cut off"])
def test_other_ends_count_for_the_oldest(ends: UnackedEnds, last: WSMessage) -> None:
    """A client takes one after another, so that is the one that it did not get past."""
    before, address_id = rejected(), uuid4()
    for others in ((1, 2), (1, 3), (1, 4, 5)):
        ends.note(address_id, in_flight(*others), last)
    assert rejected() == before + 1


def test_too_big_counts_for_the_largest(ends: UnackedEnds) -> None:
    """Whatever else is not acked yet."""
    before, address_id = rejected(), uuid4()
    for others in ((1, 4), (2, 4, 3), (4,)):
        ends.note(address_id, in_flight(*others), close(1009))
    assert rejected() == before + 1


def test_only_connections_in_a_row_count(ends: UnackedEnds) -> None:
    """Each inbox for itself; another envelope begins anew."""
    before, address_id = rejected(), uuid4()
    for number in (1, 1, 2, 2, 1, 1):
        ends.note(address_id, in_flight(number), GONE)
        ends.note(uuid4(), in_flight(number), GONE)
    assert rejected() == before


@pytest.mark.parametrize(
    "last",
    [close(1000), close(1001), close(0), WSMessage(WSMsgType.ERROR, WebSocketError(1002, "broken"), None)],
    ids=["1000", "1001", "no code", "what came was broken"],
)
def test_a_goodbye_counts_for_nothing(ends: UnackedEnds, last: WSMessage) -> None:
    """Nor does a fault of what the client sent."""
    for _ in range(5):
        ends.note(uuid4(), in_flight(1), last)
    assert len(ends) == 0


def test_where_all_is_acked_nothing_is_remembered(ends: UnackedEnds) -> None:
    ends.note(uuid4(), in_flight(), GONE)
    assert len(ends) == 0


def test_what_is_remembered_is_bounded(ends: UnackedEnds, monkeypatch: pytest.MonkeyPatch) -> None:
    """The inboxes whose connections ended longest ago are forgotten."""
    monkeypatch.setattr(unacked_ends, "_MAX_INBOXES", 3)
    for _ in range(10):
        ends.note(uuid4(), in_flight(1), GONE)
    assert len(ends) == 3
