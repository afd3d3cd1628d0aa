"""What an events channel says, parsed."""

from uuid import UUID

import pytest

from obscura.model.events import Event, MessageStored, PreKeysLow, SessionEnded, TakenOver, parse_event
from obscura.model.message_ids import EntryId

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
