"""A store of blobs whose operations are timed, counted when they fail, and seen in traces."""

import time
from collections.abc import AsyncIterator, Awaitable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TypeVar

from obscura.blobs import Blobs
from obscura.errors import BlobStoreUnavailable
from obscura.observability.metrics.attachments import STORAGE_ERRORS, STORAGE_SECONDS
from obscura.observability.tracing import current_span

T = TypeVar("T")


class InstrumentedBlobs:
    """Does what another store does, and says how it went. A put lasts as long as its stream."""

    def __init__(self, blobs: Blobs) -> None:
        self._blobs = blobs

    async def start(self) -> None:
        await self._blobs.start()

    async def stop(self) -> None:
        await self._blobs.stop()

    async def put(self, blob_id: str, chunks: AsyncIterator[bytes]) -> None:
        await _observed("put", self._blobs.put(blob_id, chunks))

    @asynccontextmanager
    async def get(self, blob_id: str, first: int, count: int) -> AsyncIterator[AsyncIterator[bytes]]:
        async with AsyncExitStack() as reading:
            chunks = await _observed("get", reading.enter_async_context(self._blobs.get(blob_id, first, count)))
            yield _counting_faults(chunks)

    async def delete(self, blob_id: str) -> None:
        await _observed("delete", self._blobs.delete(blob_id))

    async def is_available(self) -> bool:
        return await self._blobs.is_available()


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


async def _counting_faults(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    try:
        async for chunk in chunks:
            yield chunk
    except BlobStoreUnavailable:
        STORAGE_ERRORS.labels("get").inc()
        raise
