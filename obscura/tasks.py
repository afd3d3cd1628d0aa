"""Tasks awaited together, ended, and tried again after growing pauses."""

import asyncio
import random
from collections.abc import Awaitable, Iterable
from typing import Any

_BACKOFF_FIRST_SECS = 0.05
_BACKOFF_MAX_SECS = 1.0
_CANCEL_AGAIN_SECS = 0.1


async def all_of(awaitables: Iterable[Awaitable[Any]]) -> None:
    """Await all to their end, and only then raise what one of them raised: nothing goes on behind the caller's back."""
    outcomes = await asyncio.gather(*awaitables, return_exceptions=True)
    for outcome in outcomes:
        if isinstance(outcome, BaseException):
            raise outcome


async def end_tasks(*tasks: asyncio.Task[Any] | None) -> None:
    """Cancel tasks, and return when all have ended."""
    running = {task for task in tasks if task is not None and not task.done()}
    while running:
        for task in running:
            task.cancel()
        # redis-py sends with asyncio.wait_for, which before Python 3.12 loses a cancellation that comes
        # at the moment when it is done (python/cpython#86296). So there may have to be another.
        _, running = await asyncio.wait(running, timeout=_CANCEL_AGAIN_SECS)


class Backoff:
    """Growing pauses between attempts, jittered so that nodes do not come in step."""

    def __init__(self, max_secs: float = _BACKOFF_MAX_SECS) -> None:
        self._max_secs = max_secs
        self.reset()

    def reset(self) -> None:
        self._next_secs = _BACKOFF_FIRST_SECS

    async def pause(self) -> None:
        await asyncio.sleep(self._next_secs * random.uniform(0.5, 1.0))  # noqa: S311  not a secret
        self._next_secs = min(self._next_secs * 2, self._max_secs)
