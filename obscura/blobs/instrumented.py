"""A store of blobs whose operations are timed, counted when they fail, and seen in traces.

A store may answer and take nothing: full, over a quota, read-only, or closed to this user. So
after a write that was refused it counts as away until it takes one.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import TypeVar

from obscura.blobs import Blobs
from obscura.errors import BlobStoreUnavailable
from obscura.observability.metrics.attachments import STORAGE_ERRORS, STORAGE_SECONDS
from obscura.observability.tracing import current_span

_TRIAL_ID = "trial"  # no attachment's id
_TRIAL_BYTES = 65_536

T = TypeVar("T")


class InstrumentedBlobs:
    """Does what another store does, and says how it went. A put lasts as long as its stream."""

    def __init__(self, blobs: Blobs) -> None:
        self._blobs = blobs
        self._has_refused = False
        self._trial = asyncio.Lock()

    async def start(self) -> None:
        await self._blobs.start()

    async def stop(self) -> None:
        await self._blobs.stop()

    async def put(self, blob_id: str, chunks: AsyncIterator[bytes]) -> None:
        try:
            await _observed("put", self._blobs.put(blob_id, chunks))
        except BlobStoreUnavailable:
            self._has_refused = True
            raise
        self._has_refused = False

    @asynccontextmanager
    async def get(self, blob_id: str, first: int, count: int) -> AsyncIterator[AsyncIterator[bytes]]:
        async with AsyncExitStack() as reading:
            chunks = await _observed("get", reading.enter_async_context(self._blobs.get(blob_id, first, count)))
            yield _counting_faults(chunks)

    async def delete(self, blob_id: str) -> None:
        await _observed("delete", self._blobs.delete(blob_id))

    async def is_available(self) -> bool:
        if not await self._blobs.is_available():
            return False
        return not self._has_refused or await self._takes_a_write()

    async def _takes_a_write(self) -> bool:
        async with self._trial:
            with suppress(BlobStoreUnavailable):
                await self._blobs.put(_TRIAL_ID, _trial())
                self._has_refused = False
            with suppress(BlobStoreUnavailable):  # then the next trial, which has its place, takes it along
                await self._blobs.delete(_TRIAL_ID)
        return not self._has_refused


async def _observed(operation: str, call: Awaitable[T]) -> T:
    started = time.perf_counter()
    if (request := current_span.get()) is not None:
        call = request.child_span(f"storage {operation}", {"obscura.storage.operation": operation}, call)
    try:
        return await call
    except BlobStoreUnavailable:
        STORAGE_ERRORS.labels(operation).inc()
        raise
    finally:
        STORAGE_SECONDS.labels(operation).observe(time.perf_counter() - started)


async def _trial() -> AsyncIterator[bytes]:
    yield bytes(_TRIAL_BYTES)


async def _counting_faults(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    try:
        async for chunk in chunks:
            yield chunk
    except BlobStoreUnavailable:
        STORAGE_ERRORS.labels("get").inc()
        raise
