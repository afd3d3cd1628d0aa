"""Messages: sent, read from the inbox, acknowledged."""

import hashlib
import logging
from collections.abc import Sequence
from contextlib import suppress
from uuid import UUID

from obscura.errors import IdempotencyKeyReused, MalformedIdempotencyKey, NotFound, StoreUnavailable
from obscura.model.acks import Ack
from obscura.model.message_ids import EntryId
from obscura.observability.metrics.delivery import (
    MESSAGES_ACKED,
    MESSAGES_DROPPED,
    MESSAGES_EXPIRED,
    MESSAGES_REPEATED,
    MESSAGES_SENT,
)
from obscura.store.messages import Appended, Idempotency, MessageStore, NotAppended, Page

log = logging.getLogger(__name__)

_MAX_IDEMPOTENCY_KEY_LENGTH = 64
_INBOXES_PER_STEP = 100
_MESSAGES_PER_STEP = 200


class Messages:
    """Messages on their way: into an inbox, out of it, and gone when they are acknowledged or expire.

    Args:
        cleanup_interval_ms: How late the memory of an expired message may be freed.
    """

    def __init__(self, store: MessageStore, cleanup_interval_ms: int) -> None:
        self._store = store
        self._cleanup_interval_ms = max(1, cleanup_interval_ms)
        self._ttl_checked = False

    async def send(self, sender_id: str, recipient_id: str, body: bytes, idempotency_key: str | None) -> None:
        """Store one message in its recipient's inbox and announce it. What is in it is for others to check.

        When this returns the message is in Redis and will be delivered until acked or
        expired. With an idempotency key a repeat within 24 hours stores nothing more.

        Raises:
            MalformedIdempotencyKey: The key is empty, too long or not printable ASCII.
            NotFound: There is no such recipient.
            IdempotencyKeyReused: The key was used for another body.
        """
        outcome = await self._store.append(recipient_id, sender_id, body, _idempotency(idempotency_key, body))
        match outcome:
            case Appended():
                await self._after_append(recipient_id, outcome)
            case NotAppended.REPEATED:
                MESSAGES_REPEATED.inc()
            case NotAppended.UNKNOWN_RECIPIENT:
                raise NotFound("Recipient not found")
            case NotAppended.CONFLICT:
                raise IdempotencyKeyReused("the idempotency key was used for another message")

    async def pending(self, address_id: UUID, after: EntryId, max_count: int, max_bytes: int) -> Page:
        """The next page of the inbox, oldest first; expired messages are left out."""
        return await self._store.read(address_id, after, max_count, max_bytes)

    async def acknowledge(self, address_id: UUID, acks: Sequence[Ack]) -> None:
        """Remove messages from an inbox. Unknown ones are fine. Safe to repeat."""
        MESSAGES_ACKED.inc(await self._store.acknowledge(address_id, acks))

    async def sweep(self) -> None:
        """Free the memory of expired messages. Only inboxes that hold some cost anything. May be repeated.

        The first time all inboxes are looked at if they were written under another TTL than ours, or by a
        version that did not tell of each: they live by ours from then on, be it longer or shorter.

        Raises:
            StoreUnavailable: The inboxes that are left stay listed for the next time.
        """
        while due := await self._store.due_for_expiry(_INBOXES_PER_STEP):
            for address_id in due:
                await self._expire(address_id)
        if not self._ttl_checked:  # once in a process: nodes of different settings would never end
            await self._have_inboxes_follow_ttl()

    async def _have_inboxes_follow_ttl(self) -> None:
        if await self._store.have_our_ttl():
            self._ttl_checked = True
            return
        async for address_ids in self._store.all_addresses():
            for address_id in address_ids:
                await self._expire(address_id)
        self._ttl_checked = True
        with suppress(StoreUnavailable):  # as without memory: then the next process looks at them again
            await self._store.note_our_ttl()

    async def _expire(self, address_id: UUID) -> None:
        removed, oldest_ms = await self._store.expire(address_id, _MESSAGES_PER_STEP)
        MESSAGES_EXPIRED.inc(removed)
        if oldest_ms is None:
            await self._store.cancel_expiry(address_id)
        else:  # due again at once if there was more than one step's work
            await self._store.reschedule_expiry(address_id, oldest_ms)

    async def _after_append(self, recipient_id: str, appended: Appended) -> None:
        MESSAGES_SENT.inc()
        if appended.dropped:
            MESSAGES_DROPPED.inc(appended.dropped)
        if appended.expired:
            MESSAGES_EXPIRED.inc(appended.expired)
        if appended.waits or self._outlives_its_oldest(appended):
            try:
                await self._store.schedule_expiry(recipient_id, appended.oldest_ms)
            except StoreUnavailable:
                log.warning("the clean-up of an inbox could not be noted; a later message will")

    def _outlives_its_oldest(self, appended: Appended) -> bool:
        """Whether the clean-up is to be told of the inbox that a message was just put into.

        Redis removes an inbox as a whole when its last message expires. Of one that waits for its owner it was
        told at the first message, to count what goes; beside that it is needed only where a message comes more
        than an interval after the oldest one. It is told once in
        an interval: so almost no message costs a second round trip, and if a crash keeps the
        clean-up from being told, the next interval makes up for it.
        """
        intervals, intervals_before = (
            (ms - appended.oldest_ms) // self._cleanup_interval_ms for ms in (appended.ms, appended.previous_ms)
        )
        return intervals > max(intervals_before, 0)


def _idempotency(key: str | None, body: bytes) -> Idempotency | None:
    if key is None:
        return None
    if not 1 <= len(key) <= _MAX_IDEMPOTENCY_KEY_LENGTH or not (key.isascii() and key.isprintable()):
        raise MalformedIdempotencyKey(_MAX_IDEMPOTENCY_KEY_LENGTH)
    return Idempotency(key, hashlib.sha256(body).hexdigest())
