"""What happens to an account, as its sockets are told: each step is published by the script that made it."""

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
    """lua/keys_take.lua left few one-time pre-keys, or found none to give."""

    count: int


@dataclass(frozen=True, slots=True)
class TakenOver:
    """lua/keys_takeover.lua replaced the device."""


@dataclass(frozen=True, slots=True)
class SessionEnded:
    """lua/sessions_end.lua ended a session."""

    session_id: UUID


Event = MessageStored | PreKeysLow | TakenOver | SessionEnded
