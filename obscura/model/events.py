"""What happens to an account, as the scripts publish it on the account's events channel.

``<kind> <word>...``, for a message followed by a line feed and its bytes.
"""

from dataclasses import dataclass
from typing import NamedTuple
from uuid import UUID

from obscura.model.message_ids import EntryId


class MessageStored(NamedTuple):
    """lua/messages_append.lua put a message behind ``previous``; large ones come without ``body``."""

    entry: EntryId
    previous: EntryId
    sender: bytes
    body: bytes | None


@dataclass(frozen=True, slots=True)
class PreKeysLow:
    """lua/keys_take.lua left fewer one-time pre-keys than the threshold."""

    count: int


@dataclass(frozen=True, slots=True)
class TakenOver:
    """lua/keys_takeover.lua replaced the device."""


@dataclass(frozen=True, slots=True)
class SessionEnded:
    """lua/sessions_end.lua ended a session."""

    session_id: UUID


Event = MessageStored | PreKeysLow | TakenOver | SessionEnded


def parse_event(payload: bytes) -> Event | None:
    """What a message of an account's events channel says; None for one that this version does not know."""
    try:
        return _parse(payload)
    except ValueError:
        return None


def _parse(payload: bytes) -> Event | None:
    head, has_body, body = payload.partition(b"\n")
    match head.split(b" "):
        case [b"message", entry, previous, sender]:
            return MessageStored(EntryId.parse(entry), EntryId.parse(previous), sender, body if has_body else None)
        case [b"pre-keys-low", count]:
            return PreKeysLow(int(count))
        case [b"takeover"]:
            return TakenOver()
        case [b"session-ended", session_id]:
            return SessionEnded(UUID(session_id.decode()))
        case _:
            return None
