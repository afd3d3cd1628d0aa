"""Streams of bytes, cut into chunks of one size."""

from collections.abc import AsyncIterator

CHUNK_BYTES = 65_536


async def rechunk(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes | bytearray]:
    """The same bytes in chunks of exactly `CHUNK_BYTES`, the last one aside.

    A trip to a thread or to the store for each network packet would cost more than its work there.
    """
    waiting = bytearray()
    async for chunk in chunks:
        rest = memoryview(chunk)
        while len(waiting) + len(rest) >= CHUNK_BYTES:
            cut = CHUNK_BYTES - len(waiting)
            waiting += rest[:cut]
            rest = rest[cut:]
            yield waiting
            waiting = bytearray()
        waiting += rest
    if waiting:
        yield waiting
