"""Inboxes: the queue of pending messages of each address.

A message on its way: `append` puts it into the inbox and publishes an event in one
step. A node that has a socket for the recipient sends the message from the event, or,
if it may have missed one before, calls `read`. `acknowledge` removes the message.
`InboxLimits` bound an inbox; expired messages are never read, and `expire` frees their memory.
"""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, NamedTuple
from uuid import UUID

from obscura.model.acks import Ack
from obscura.model.message_ids import EntryId
from obscura.redis_client.commands import CommandExecutor
from obscura.redis_client.scripts import Scripts
from obscura.redis_client.transport import Argument
from obscura.settings.model import Settings
from obscura.store import keyspace

IDEMPOTENCY_MEMORY_MS = 24 * 3_600_000

_DAY_MS = 86_400_000
_TTL_MEMORY_MS = 365 * _DAY_MS
_KEYS_PER_SCAN = 1000
_SMALL_INBOX_BYTES = 2**20  # up to this size an inbox is read by XRANGE alone; a page may take less of it


@dataclass(frozen=True, slots=True)
class InboxLimits:
    """What one inbox may hold; over it the oldest messages go.

    Attributes:
        ttl_ms: How long a message is kept.
    """

    max_count: int
    max_bytes: int
    ttl_ms: int

    @classmethod
    def from_settings(cls, settings: Settings) -> "InboxLimits":
        return cls(settings.max_inbox_size, settings.max_inbox_bytes, int(settings.ttl_days * _DAY_MS))


@dataclass(frozen=True, slots=True)
class Idempotency:
    """A sender's name for one message, and the SHA-256 of its body in hex."""

    key: str
    body_digest: str


class NotAppended(Enum):
    """Why a message was not put into an inbox. REPEATED: an earlier call with its idempotency key has done so."""

    UNKNOWN_RECIPIENT = b"unknown"
    REPEATED = b"repeated"
    CONFLICT = b"conflict"


class Appended(NamedTuple):
    """A message that was put into an inbox.

    Attributes:
        ms: Its time, as its place in the inbox has it.
        previous_ms: That of the one appended before it, whether still there or not.
        oldest_ms: A lower bound of the time of the inbox's oldest message.
        dropped: How many messages had to go for it.
        expired: How many were over their time.
        waits: Whether the inbox begins with it, and no node has a socket to give it to.
    """

    ms: int
    previous_ms: int
    oldest_ms: int
    dropped: int
    expired: int
    waits: bool


AppendOutcome = Appended | NotAppended


class Entry(NamedTuple):
    """One pending message.

    Attributes:
        sender: An address id in text, as it goes into the frame.
        sent_ms: When it was sent, if ``id`` does not say: its milliseconds are ahead after a clock that was.
    """

    id: EntryId
    sender: bytes
    body: bytes
    sent_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """Entries in queue order.

    Attributes:
        position: Up to here nothing is left unread.
        complete: Nothing was stored beyond ``position``.
    """

    entries: list[Entry]
    position: EntryId
    complete: bool


def sent_ms_of(body_field: bytes) -> int | None:
    """When an entry was sent, by the name of its field; None if its id says it: lua/messages_append.lua."""
    if body_field == b"body":
        return None
    ms = body_field.partition(b"@")[2]
    return int(ms) if ms.isdigit() else None


class MessageStore:
    """The inbox of each address, and the index of when inboxes are to be looked after."""

    def __init__(self, commands: CommandExecutor, scripts: Scripts, limits: InboxLimits) -> None:
        self._commands = commands
        self._scripts = scripts
        self._limits = limits
        # What each append is told beside the message; made once, as there are so many.
        numbers = (limits.max_count, limits.max_bytes, limits.ttl_ms)
        self._append_args = (*(str(number).encode() for number in numbers), commands.publish.encode())

    async def append(
        self, recipient_id: str, sender_id: str, body: bytes, idempotency: Idempotency | None
    ) -> AppendOutcome:
        """Put one message into an inbox and announce it, in one step. Ids are in their canonical text.

        Raises:
            StoreUnavailable: No reply. The message may be stored; only with
                ``idempotency`` is a repeat safe.
        """
        keys = [keyspace.account(recipient_id), keyspace.inbox(recipient_id), keyspace.events(recipient_id)]
        args: list[Argument] = [sender_id, body, *self._append_args]
        if idempotency is not None:
            keys.append(keyspace.idempotency(recipient_id, sender_id, idempotency.key))
            args += [idempotency.body_digest, IDEMPOTENCY_MEMORY_MS]
        outcome, *stored = await self._scripts.run("messages_append", keys, args)
        if not stored:
            return NotAppended(outcome)
        entry, previous, oldest_ms, dropped, expired, waits = stored
        return Appended(_ms_of(entry), _ms_of(previous), oldest_ms, dropped, expired, bool(waits))

    async def read(self, address_id: UUID, after: EntryId, max_count: int, max_bytes: int) -> Page:
        """The next page of an inbox beyond ``after``: at least one entry if there is any. Safe to repeat."""
        account, inbox = keyspace.account(address_id), keyspace.inbox(address_id)
        start, last, size = await self._scripts.run(
            "messages_survey", keys=[account], args=[str(after), self._limits.ttl_ms]
        )
        if size <= _SMALL_INBOX_BYTES:
            reply = await self._commands.call("XRANGE", inbox, start, "+", "COUNT", max_count)
            return _page_of(reply, EntryId.parse(last), max_count, max_bytes)
        position, complete, *entries = await self._scripts.run(
            "messages_read",
            keys=[account, inbox],
            args=[start, max_count, max_bytes],
        )
        return Page(
            [
                Entry(EntryId.parse(entry_id), sender, body, sent_ms_of(field))
                for entry_id, sender, body, field in entries
            ],
            EntryId.parse(position),
            bool(complete),
        )

    async def acknowledge(self, address_id: UUID, acks: Sequence[Ack]) -> int:
        """Remove entries; returns how many were there. Safe to repeat."""
        keys = [keyspace.account(address_id), keyspace.inbox(address_id)]
        args: list[Argument] = []
        for entry, size in acks:
            args += (str(entry), "" if size is None else size)
        return int(await self._scripts.run("messages_ack", keys, args))

    async def expire(self, address_id: UUID, max_count: int) -> tuple[int, int | None]:
        """Remove up to ``max_count`` expired messages, the oldest first; the inbox lives by our TTL from now on.

        Safe to repeat.

        Returns how many went, with those that Redis has removed together with their inbox, and the
        milliseconds of the oldest one left: None if the inbox is empty, of an expired one if there were
        more than ``max_count``.
        """
        keys = [keyspace.account(address_id), keyspace.inbox(address_id)]
        removed, oldest_ms = await self._scripts.run("messages_expire", keys, [self._limits.ttl_ms, max_count])
        return removed, oldest_ms

    async def schedule_expiry(self, address_id: str, oldest_ms: int) -> None:
        """Have an inbox looked after once its oldest message has expired, unless it is sooner. Safe to repeat."""
        await self._commands.call("ZADD", keyspace.INBOX_EXPIRY, "LT", self._expiry_ms(oldest_ms), address_id)

    async def reschedule_expiry(self, address_id: UUID, oldest_ms: int) -> None:
        """Have an inbox looked after at another time: once its new oldest message has expired. Safe to repeat."""
        await self._scripts.run(
            "messages_move_expiry", [keyspace.INBOX_EXPIRY], [str(address_id), self._expiry_ms(oldest_ms)]
        )

    async def cancel_expiry(self, address_id: UUID) -> None:
        """Look after an inbox no more: it is empty. Safe to repeat."""
        await self._commands.call("ZREM", keyspace.INBOX_EXPIRY, str(address_id))

    async def due_for_expiry(self, max_count: int) -> list[UUID]:
        """Inboxes whose oldest message has expired by Redis's clock, the longest overdue first. Safe to repeat."""
        seconds, microseconds = await self._commands.call("TIME")
        now_ms = int(seconds) * 1000 + int(microseconds) // 1000
        reply = await self._commands.call(
            "ZRANGE", keyspace.INBOX_EXPIRY, "-inf", now_ms, "BYSCORE", "LIMIT", 0, max_count
        )
        return [UUID(address_id.decode()) for address_id in reply]

    async def have_our_ttl(self) -> bool:
        """Whether every inbox is known to live by our TTL, whichever node has written to it. Safe to repeat."""
        reply: bytes | None = await self._commands.call("GET", keyspace.INBOX_TTL)
        return reply == str(self._limits.ttl_ms).encode()

    async def note_our_ttl(self) -> None:
        """Every inbox lives by our TTL by now. Safe to repeat."""
        await self._commands.call("SET", keyspace.INBOX_TTL, self._limits.ttl_ms, "PX", _TTL_MEMORY_MS)

    async def all_addresses(self) -> AsyncIterator[list[UUID]]:
        """Every address that has an inbox, some at a time. Looks at all keys there are; one may come twice."""
        for master in self._commands.masters:
            cursor = None
            while cursor != b"0":
                cursor, keys = await master.call(
                    "SCAN", cursor or b"0", "MATCH", keyspace.ALL_INBOXES, "COUNT", _KEYS_PER_SCAN
                )
                yield [keyspace.address_of_inbox(key.decode()) for key in keys]

    def _expiry_ms(self, oldest_ms: int) -> int:
        return oldest_ms + self._limits.ttl_ms + 1  # the first moment at which lua/messages_expire.lua removes it


def _ms_of(entry_id: bytes) -> int:
    return int(entry_id.partition(b"-")[0])


def _page_of(reply: Sequence[Any], last: EntryId, max_count: int, max_bytes: int) -> Page:
    """What XRANGE said, as a page.

    Args:
        last: The newest entry that had been stored before.
    """
    entries: list[Entry] = []
    size = 0
    for entry_id, (_, sender, field, body) in reply:
        if size >= max_bytes:
            break
        entries.append(Entry(EntryId.parse(entry_id), sender, body, sent_ms_of(field)))
        size += len(body)
    if len(entries) < len(reply) or len(reply) == max_count:
        return Page(entries, entries[-1].id, complete=False)
    # What was stored between the two commands was read; what was stored and acked is not missed.
    return Page(entries, max(last, entries[-1].id) if entries else last, complete=True)
