"""What the events channels say, parsed and handed on."""

from uuid import UUID, uuid4

import pytest

from obscura.model.events import Event, MessageStored, PreKeysLow, SessionEnded, TakenOver
from obscura.model.message_ids import EntryId
from obscura.store import keyspace
from obscura.store.events import EventDecoder, parse_event

SESSION = "0195a2b4-0000-7000-8000-000000000001"


@pytest.mark.parametrize(
    ("payload", "event"),
    [
        (b"message 7-1 6-0 alice\nbody", MessageStored(EntryId(7, 1), EntryId(6, 0), b"alice", b"body")),
        (b"message 7-1 6-0 alice\n\n a\n", MessageStored(EntryId(7, 1), EntryId(6, 0), b"alice", b"\n a\n")),
        (b"message 7-1 6-0 alice\n", MessageStored(EntryId(7, 1), EntryId(6, 0), b"alice", b"")),
        (b"message 7-1 6-0 alice", MessageStored(EntryId(7, 1), EntryId(6, 0), b"alice", None)),
        (b"pre-keys-low 19", PreKeysLow(19)),
        (b"takeover", TakenOver()),
        (b"session-ended " + SESSION.encode(), SessionEnded(UUID(SESSION))),
    ],
)
def test_an_event_is_parsed(payload: bytes, event: Event) -> None:
    """Each kind that the scripts publish; a body may hold anything."""
    assert parse_event(payload) == event


@pytest.mark.parametrize(
    "payload",
    [
        *(b"", b"\n", b"unheard-of", b"message", b"message 7-1 6-0", b"message x 6-0 alice\nbody", b"message 7 6 a b"),
        *(b"pre-keys-low", b"pre-keys-low many", b"session-ended", b"session-ended \xff", b"takeover now"),
    ],
)
def test_what_is_no_event_is_none(payload: bytes) -> None:
    """An unknown kind, as of a later version, and a malformed payload are passed over."""
    assert parse_event(payload) is None


class Told:
    """Notes what a decoder hands on."""

    def __init__(self) -> None:
        self.events: list[tuple[UUID, Event]] = []
        self.ended: dict[UUID, int] = {}
        self.gaps: list[list[UUID]] = []
        self.decoder = EventDecoder()

    def listen(self) -> None:
        self.decoder.hand_to(
            lambda address_id, event: self.events.append((address_id, event)),
            self.ended.update,
            lambda address_ids: self.gaps.append(list(address_ids)),
        )


def test_an_event_is_handed_on_with_the_address_of_its_channel() -> None:
    """One that this version does not know is not."""
    told, address_id = Told(), uuid4()
    told.listen()
    for payload in (b"takeover", b"unheard-of", b"pre-keys-low 3"):
        told.decoder.on_message(keyspace.events(address_id), payload)
    assert told.events == [(address_id, TakenOver()), (address_id, PreKeysLow(3))]
    assert told.ended == {}


def test_ended_sessions_are_handed_on_with_the_second_until_which_they_matter() -> None:
    """However many one message names."""
    told, first, second = Told(), uuid4(), uuid4()
    told.listen()
    told.decoder.on_message(keyspace.ENDED_SESSIONS, f"1790000000 {first} {second}".encode())
    assert told.ended == {first: 1_790_000_000, second: 1_790_000_000}
    assert told.events == []


def test_a_gap_is_one_of_addresses() -> None:
    """The channel of ended sessions is nobody's, but a gap in it is one all the same."""
    told, address_id = Told(), uuid4()
    told.listen()
    told.decoder.on_gap({keyspace.ENDED_SESSIONS, keyspace.events(address_id)})
    told.decoder.on_gap({keyspace.ENDED_SESSIONS})
    assert told.gaps == [[address_id], []]


def test_what_comes_before_anybody_listens_is_passed_over() -> None:
    """As while a node starts."""
    told = Told()
    told.decoder.on_message(keyspace.events(uuid4()), b"takeover")
    told.decoder.on_message(keyspace.ENDED_SESSIONS, f"1790000000 {uuid4()}".encode())
    told.decoder.on_gap({keyspace.ENDED_SESSIONS})
    told.listen()
    assert (told.events, told.ended, told.gaps) == ([], {}, [])
