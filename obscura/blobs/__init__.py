"""Where attachments' bytes lie: one small interface, a directory and S3 behind it.

May import what all may, and no other room.

A blob is written once, under an id nobody else has, and is visible as a whole or not at
all. Nothing here knows of accounts or of expiry.
"""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Protocol


class Blobs(Protocol):
    """A store of blobs. `BlobStoreUnavailable` is its own fault, never that of the one who sends or receives."""

    async def start(self) -> None:
        """Get ready. A store that is away is no reason to fail: messaging goes on without it."""

    async def stop(self) -> None:
        """Let go of all that is held open."""

    async def put(self, blob_id: str, chunks: AsyncIterator[bytes]) -> None:
        """Store a blob durably, in constant memory.

        When it returns the whole blob is stored. An error of ``chunks`` passes as it is, and
        nothing of the blob is visible then.

        Raises:
            StorageFull: There is no room that a blob may take; most likely not a byte was read.
            BlobStoreUnavailable: The store fails. Parts of the blob may be left, or, if an
                answer was lost, all of it: `delete` is to be called later.
        """

    def get(self, blob_id: str, first: int, count: int) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """Read ``count`` bytes from ``first`` on, at least one; they exist, or the store is at fault.

        The store has answered when the context is entered.

        Raises:
            BlobStoreUnavailable: On entering or midway, also when the blob ends early.
        """

    async def delete(self, blob_id: str) -> None:
        """Remove a blob and what an unfinished upload of it left. Fine if there is none. Safe to repeat.

        Raises:
            BlobStoreUnavailable: Some of it may be left.
        """

    async def is_available(self) -> bool:
        """Whether the store answers and has room. Raises nothing."""
