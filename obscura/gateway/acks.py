"""Acknowledgements on their way to the store: gathered per user, written by count and by time.

An ack that was added is written sooner or later whatever happens to its socket or to
Redis, as long as the process lives; a graceful stop waits for it.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection
from uuid import UUID

from obscura.errors import StoreUnavailable
from obscura.frames import EntryId

log = logging.getLogger(__name__)

_MAX_PER_WRITE = 500  # a larger batch would keep Redis from everybody else for too long


class Acks:
    """The acks of all sockets of this process.

    Args:
        write: Removes entries from a user's inbox; safe to repeat.
        batch_size: With this many waiting for a user they are written at once.
        interval_secs: None waits longer than this, as long as Redis answers.
    """

    def __init__(
        self, write: Callable[[UUID, Collection[EntryId]], Awaitable[None]], batch_size: int, interval_secs: float
    ) -> None:
        self._write = write
        self._batch_size = batch_size
        self._interval_secs = interval_secs
        self._waiting: dict[UUID, set[EntryId]] = {}
        self._writers: dict[UUID, asyncio.Task[bool]] = {}
        self._timer: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._timer = asyncio.create_task(self._write_by_time())

    async def stop(self) -> None:
        """Write what waits, trying again until it is written. The caller sets the deadline."""
        while self._waiting or self._writers:
            await asyncio.gather(*(self.flush(user_id) for user_id in {*self._waiting, *self._writers}))
            if self._waiting:
                await asyncio.sleep(self._interval_secs)
        if self._timer is not None:
            self._timer.cancel()
            await asyncio.gather(self._timer, return_exceptions=True)

    def add(self, user_id: UUID, entry: EntryId) -> int:
        """Take an ack; returns how many of this user wait now."""
        waiting = self._waiting.setdefault(user_id, set())
        waiting.add(entry)
        if len(waiting) >= self._batch_size and user_id not in self._writers:
            self._start_writer(user_id)
        return len(waiting)

    async def flush(self, user_id: UUID) -> bool:
        """Write all acks of a user that were added before.

        False: Redis is away; they stay, and are tried again.
        """
        while user_id in self._waiting or user_id in self._writers:
            writer = self._writers.get(user_id) or self._start_writer(user_id)
            if not await asyncio.shield(writer):
                return False
        return True

    def _start_writer(self, user_id: UUID) -> asyncio.Task[bool]:
        writer = self._writers[user_id] = asyncio.create_task(self._write_all(user_id))
        return writer

    async def _write_all(self, user_id: UUID) -> bool:
        try:
            while waiting := self._waiting.get(user_id):
                batch = set(sorted(waiting)[:_MAX_PER_WRITE])
                await self._write(user_id, batch)
                waiting -= batch
                if not waiting:
                    del self._waiting[user_id]
        except StoreUnavailable:
            log.debug("acks wait for Redis")
            return False
        finally:
            del self._writers[user_id]
        return True

    async def _write_by_time(self) -> None:
        while True:
            await asyncio.sleep(self._interval_secs)
            for user_id in self._waiting.keys() - self._writers.keys():
                self._start_writer(user_id)
