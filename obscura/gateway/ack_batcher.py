"""Acks on their way to the store: gathered per inbox, written by count and by time.

An ack that was added is written sooner or later whatever happens to its socket or to
Redis, as long as the process lives; a graceful stop waits for it.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from uuid import UUID

from obscura.errors import StoreUnavailable
from obscura.model.acks import Ack
from obscura.model.message_ids import EntryId
from obscura.observability.metrics.delivery import ACK_WRITE_FAILURES
from obscura.settings.model import Settings
from obscura.tasks import end_tasks

log = logging.getLogger(__name__)

_RETRY_SECS = 0.2
_MAX_PER_WRITE = 500  # a larger batch would keep Redis from everybody else for too long


class AckBatcher:
    """The acks of all sockets of this process.

    Args:
        write: Removes entries from the inbox of an address, given in its order; safe to repeat.
        batch_size: With this many waiting for an inbox they are written at once.
        interval_secs: None waits longer than this, as long as Redis answers.
    """

    def __init__(
        self, write: Callable[[UUID, Sequence[Ack]], Awaitable[None]], batch_size: int, interval_secs: float
    ) -> None:
        self._write = write
        self._batch_size = batch_size
        self._interval_secs = interval_secs
        self._waiting: dict[UUID, dict[EntryId, Ack]] = {}
        self._writers: dict[UUID, asyncio.Task[bool]] = {}
        self._timer: asyncio.Task[None] | None = None

    @classmethod
    def from_settings(cls, settings: Settings, write: Callable[[UUID, Sequence[Ack]], Awaitable[None]]) -> "AckBatcher":
        """With the batch size and the interval of a node's settings."""
        return cls(write, settings.ws_ack_batch_size, settings.ws_ack_flush_interval_ms / 1000)

    def start(self) -> None:
        """Write by time from now on."""
        self._timer = asyncio.create_task(self._write_by_time())

    async def stop(self) -> None:
        """Write what waits, trying again until it is written. To set a deadline, cancel the call."""
        try:
            while not await self.flush_all():  # noqa: ASYNC110  Redis sends no event when it is back
                await asyncio.sleep(_RETRY_SECS)
        finally:
            await end_tasks(self._timer, *self._writers.values())

    @property
    def waiting(self) -> int:
        """How many are not written yet."""
        return sum(map(len, self._waiting.values()))

    def add(self, address_id: UUID, ack: Ack) -> int:
        """Take an ack; returns how many of this inbox wait now."""
        waiting = self._waiting.get(address_id)
        if waiting is None:
            waiting = self._waiting[address_id] = {}
        waiting[ack.entry] = ack
        # At every multiple, not at each one past the first: while Redis is away those wait for the timer.
        if len(waiting) % self._batch_size == 0 and address_id not in self._writers:
            self._start_writer(address_id)
        return len(waiting)

    async def flush(self, address_id: UUID) -> bool:
        """Write all acks of an inbox that were added before; those added meanwhile delay it no further.

        False: Redis is away; they stay, and are tried again.
        """
        under_way = self._writers.get(address_id)
        if under_way is not None and not await asyncio.shield(under_way):
            return False
        if address_id not in self._waiting:
            return True
        return await asyncio.shield(self._writers.get(address_id) or self._start_writer(address_id))

    async def flush_all(self) -> bool:
        """Write all acks that were added before. False: not all could be written."""
        address_ids = {*self._waiting, *self._writers}
        return all(await asyncio.gather(*(self.flush(address_id) for address_id in address_ids)))

    def _start_writer(self, address_id: UUID) -> asyncio.Task[bool]:
        writer = self._writers[address_id] = asyncio.create_task(self._write_waiting(address_id))
        return writer

    async def _write_waiting(self, address_id: UUID) -> bool:
        waiting = self._waiting[address_id]
        acks = sorted(waiting.values())
        try:
            for first in range(0, len(acks), _MAX_PER_WRITE):
                batch = acks[first : first + _MAX_PER_WRITE]
                await self._write(address_id, batch)
                for ack in batch:
                    del waiting[ack.entry]
        except StoreUnavailable:
            ACK_WRITE_FAILURES.inc()
            log.debug("acks wait for Redis")
            return False
        except Exception:
            ACK_WRITE_FAILURES.inc()
            log.exception("acks could not be written")
            return False
        finally:
            del self._writers[address_id]
            if not waiting:
                del self._waiting[address_id]
        if len(waiting) >= self._batch_size:  # added meanwhile
            self._start_writer(address_id)
        return True

    async def _write_by_time(self) -> None:
        while True:
            await asyncio.sleep(self._interval_secs)
            for address_id in self._waiting.keys() - self._writers.keys():
                self._start_writer(address_id)
