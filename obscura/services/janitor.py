"""The clean-up: frees the memory of expired messages, once per interval on one node of all."""

import asyncio
import logging
import random
from uuid import UUID

from obscura.errors import StoreUnavailable
from obscura.store.messages import MessageStore
from obscura.telemetry import MESSAGES_EXPIRED

log = logging.getLogger(__name__)

_INBOXES_PER_STEP = 100
_MESSAGES_PER_STEP = 200


class Janitor:
    """Looks after the inboxes whose oldest message has expired.

    Inboxes that only hold newer messages, or none beyond their expiry, cost nothing here.
    """

    def __init__(self, store: MessageStore, interval_secs: float) -> None:
        self._store = store
        self._interval_secs = interval_secs
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def sweep(self) -> int:
        """Remove what has expired from every inbox that is due; returns how many messages went."""
        removed = 0
        while due := await self._store.due_for_expiry(_INBOXES_PER_STEP):
            for user_id in due:
                removed += await self._expire(user_id)
        MESSAGES_EXPIRED.inc(removed)
        return removed

    async def _expire(self, user_id: UUID) -> int:
        total, complete = 0, False
        while not complete:
            removed, oldest_ms, complete = await self._store.expire(user_id, _MESSAGES_PER_STEP)
            total += removed
        if oldest_ms == 0:
            await self._store.forget_expiry(user_id)
        else:
            await self._store.move_expiry(user_id, oldest_ms)
        return total

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(self._interval_secs * random.uniform(0.8, 1))  # noqa: S311  spreads the nodes
            try:
                if await self._store.begin_sweep(int(self._interval_secs * 800)):
                    await self.sweep()
            except StoreUnavailable:
                log.info("the clean-up waits for Redis")
