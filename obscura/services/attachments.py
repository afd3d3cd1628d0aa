"""Attachments: taken in and given out as streams, removed when they expire."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from uuid import UUID, uuid4

from obscura.blobs import Blobs
from obscura.errors import BadRequest, NotFound, RequestTimeout, Unavailable
from obscura.observability.metrics.attachments import ATTACHMENT_BYTES_IN, ATTACHMENT_BYTES_OUT, ATTACHMENTS_EXPIRED
from obscura.services.attachment_allowance import Allowance
from obscura.settings.model import Settings
from obscura.store.attachment_budgets import AttachmentBudgets
from obscura.store.attachments import Attachment, AttachmentStore

log = logging.getLogger(__name__)

_DAY_MS = 86_400_000
_UPLOAD_MAX_SECS = 3000
_ABANDONED_AFTER_MS = 3_600_000  # when every upload is over for sure
_REMOVALS_AT_ONCE = 8
_AHEAD_BYTES = 2**20  # taken at a time for an upload of unknown length
_COUNT_MIN_MS = 3_600_000  # all that expire within so long, or a share of the lifetime, are counted as one
_COUNTS_PER_LIFETIME = 64


@dataclass(frozen=True, slots=True)
class StoredAttachment:
    """A finished upload. ``expires_at`` is in whole seconds since the epoch."""

    id: UUID
    expires_at: int


@dataclass(frozen=True, slots=True)
class AttachmentOptions:
    """How large attachments may be and how long they are kept.

    Attributes:
        max_bytes: Of one attachment.
        ttl_ms: How long one is kept.
        sweep_batch_size: How many are taken up for removal at a time.
    """

    max_bytes: int
    ttl_ms: int
    sweep_batch_size: int

    @classmethod
    def from_settings(cls, settings: Settings) -> "AttachmentOptions":
        return cls(
            max_bytes=settings.storage_max_size_bytes,
            ttl_ms=int(settings.ttl_days * _DAY_MS),
            sweep_batch_size=settings.storage_cleanup_batch_size,
        )


class Attachments:
    """Streams into the store of blobs and out of it; what Redis knows of each decides whether there is one."""

    def __init__(
        self,
        store: AttachmentStore,
        blobs: Blobs,
        budgets: AttachmentBudgets,
        options: AttachmentOptions,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._blobs = blobs
        self._budgets = budgets
        self._options = options
        self._now = now

    async def upload(self, user_id: UUID, declared_bytes: int | None, chunks: AsyncIterator[bytes]) -> StoredAttachment:
        """Store a stream of this user under a new id, in constant memory. It may be empty.

        An error of ``chunks`` is raised as it is. After any error nothing of the upload can be read,
        and what was stored is removed at once or by a later clean-up.

        Raises:
            BadRequest: Longer than the maximum, by its declared length or as it turns out.
            TooManyRequests: The user has stored as much today as one may.
            RequestTimeout: It took the better part of an hour.
            Unavailable: The blob store or Redis is away.
        """
        if declared_bytes is not None and declared_bytes > self._options.max_bytes:
            raise BadRequest("Attachment too large")
        abandoned_ms = self._now_ms() + _ABANDONED_AFTER_MS
        allowance = Allowance(self._budgets, user_id, self._counted_until(abandoned_ms))
        try:
            await allowance.require(declared_bytes or 0)
            stored, size_bytes = await self._store_stream(
                abandoned_ms, _Meter(chunks, self._options.max_bytes, allowance)
            )
        except BaseException:
            await asyncio.shield(allowance.drop())
            raise
        await allowance.keep(size_bytes, self._counted_until(stored.expires_at * 1000))
        ATTACHMENT_BYTES_IN.inc(size_bytes)
        return stored

    async def _store_stream(self, abandoned_ms: int, meter: "_Meter") -> tuple[StoredAttachment, int]:
        """Store it under a new id; also returns how many bytes it had."""
        attachment_id = uuid4()
        await self._store.begin(attachment_id, abandoned_ms)
        try:
            await self._put(attachment_id, meter)
        except Unavailable:
            raise  # a store at fault is not asked for more: it stays listed for the clean-up
        except BaseException:
            await asyncio.shield(self._discard(attachment_id))
            raise
        attachment = Attachment(meter.size_bytes, self._now_ms() + self._options.ttl_ms)
        if not await self._store.finish(attachment_id, abandoned_ms, attachment):
            raise Unavailable("an upload was cleaned up before it was finished")
        return StoredAttachment(attachment_id, attachment.expires_ms // 1000), meter.size_bytes

    async def has_room(self) -> bool:
        """Whether all attachments together have fewer bytes than they may have.

        Raises:
            StoreUnavailable: Nobody knows.
        """
        return await self._budgets.has_room(self._now_ms())

    async def find(self, attachment_id: UUID) -> Attachment:
        """What is known of a stored attachment.

        Raises:
            NotFound: There is none, or it has expired.
        """
        found = await self._store.find(attachment_id)
        if found is None or found.expires_ms <= self._now_ms():
            raise NotFound("Attachment not found or expired")
        return found

    @asynccontextmanager
    async def read(self, attachment_id: UUID, first: int, count: int) -> AsyncIterator[AsyncIterator[bytes]]:
        """``count`` bytes from ``first`` on, as a stream; see `Blobs.get` for the faults it raises."""
        if count == 0:
            yield _nothing()
            return
        async with self._blobs.get(str(attachment_id), first, count) as chunks:
            yield _counted_out(chunks)

    async def sweep(self) -> None:
        """Remove what has expired or was never finished.

        Raises:
            Unavailable: A store fails. What is left stays listed, and is due again in a minute.
        """
        while due := await self._store.claim_due(self._options.sweep_batch_size):
            slots = asyncio.Semaphore(_REMOVALS_AT_ONCE)
            outcomes = await asyncio.gather(*(self._expire(one, slots) for one in due), return_exceptions=True)
            for failure in filter(None, outcomes):
                raise failure

    async def _expire(self, attachment_id: UUID, slots: asyncio.Semaphore) -> None:
        async with slots:
            await self._remove(attachment_id)
            ATTACHMENTS_EXPIRED.inc()

    async def _put(self, attachment_id: UUID, meter: "_Meter") -> None:
        try:
            async with asyncio.timeout(_UPLOAD_MAX_SECS):
                await self._blobs.put(str(attachment_id), meter.counted())
        except TimeoutError as error:
            raise RequestTimeout("The upload took too long") from error

    async def _discard(self, attachment_id: UUID) -> None:
        try:
            await self._remove(attachment_id)
        except Unavailable:
            log.info("what is left of an upload waits for the clean-up")

    async def _remove(self, attachment_id: UUID) -> None:
        await self._store.hide(attachment_id)
        await self._blobs.delete(str(attachment_id))
        await self._store.forget(attachment_id)  # last: while its bytes may be there it stays listed

    def _counted_until(self, expires_ms: int) -> int:
        """The time until which the bytes of what expires then are counted: one for many, and none too early."""
        step_ms = max(_COUNT_MIN_MS, self._options.ttl_ms // _COUNTS_PER_LIFETIME)
        return -(-expires_ms // step_ms) * step_ms

    def _now_ms(self) -> int:
        return int(self._now() * 1000)


class _Meter:
    """Counts the bytes of a stream, and raises BadRequest when they are too many, or what the allowance raises."""

    def __init__(self, chunks: AsyncIterator[bytes], max_bytes: int, allowance: Allowance) -> None:
        self._allowance = allowance
        self._chunks = chunks
        self._max_bytes = max_bytes
        self.size_bytes = 0

    async def counted(self) -> AsyncIterator[bytes]:
        async for chunk in self._chunks:
            self.size_bytes += len(chunk)
            if self.size_bytes > self._max_bytes:
                raise BadRequest("Attachment too large")
            await self._allowance.require(self.size_bytes, _AHEAD_BYTES)
            yield chunk


async def _counted_out(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    async for chunk in chunks:
        ATTACHMENT_BYTES_OUT.inc(len(chunk))
        yield chunk


async def _nothing() -> AsyncIterator[bytes]:
    return
    yield b""
