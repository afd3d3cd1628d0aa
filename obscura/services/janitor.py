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

# In intervals. A node waits longer than any sweep keeps the others off, so that one alone never misses a turn.
_PAUSE_MIN, _PAUSE_MAX = 0.8, 1.0
_SWEEP_HOLDS = 0.75


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

    async def _run(self) -> None:
        hold_ms = max(1, int(self._interval_secs * 1000 * _SWEEP_HOLDS))
        while True:
            await asyncio.sleep(self._interval_secs * random.uniform(_PAUSE_MIN, _PAUSE_MAX))  # noqa: S311  no secret
            try:
                if await self._store.begin_sweep(hold_ms):
                    await self._sweep()
            except StoreUnavailable:
                log.info("the clean-up waits for Redis")
            except Exception:
                # Whatever is wrong this time, a task that ended here would leave every later message in memory.
                log.exception("the clean-up failed")

    async def _sweep(self) -> None:
        while due := await self._store.due_for_expiry(_INBOXES_PER_STEP):
            for user_id in due:
                await self._expire(user_id)

    async def _expire(self, user_id: UUID) -> None:
        removed, oldest_ms = await self._store.expire(user_id, _MESSAGES_PER_STEP)
        MESSAGES_EXPIRED.inc(removed)
        if oldest_ms is None:
            await self._store.forget_expiry(user_id)
        else:  # due again at once if there was more than one step's work
            await self._store.move_expiry(user_id, oldest_ms)
