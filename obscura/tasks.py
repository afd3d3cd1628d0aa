"""Tasks awaited together, ended, and tried again after growing pauses."""

import asyncio
import random
from collections.abc import Awaitable, Iterable
from typing import Any

_BACKOFF_FIRST_SECS = 0.05
_BACKOFF_MAX_SECS = 1.0
_CANCEL_AGAIN_SECS = 0.1


async def gather_all(awaitables: Iterable[Awaitable[Any]]) -> None:
    """Await all of them at the same time, and return when the last has ended.

    If some fail, the others still run to their end, and then the first error is raised:
    nothing is left running, as it would be after a failure in `asyncio.gather`.
    """
    outcomes = await asyncio.gather(*awaitables, return_exceptions=True)
    for outcome in outcomes:
        if isinstance(outcome, BaseException):
            raise outcome


async def end_tasks(*tasks: asyncio.Task[Any] | None) -> None:
    """Cancel tasks, and return when all have ended. Those that are None or have ended are fine. May be repeated."""
    running = {task for task in tasks if task is not None and not task.done()}
    while running:
        for task in running:
            task.cancel()
        # Before Python 3.12 asyncio.wait_for, which libraries use, loses a cancellation that comes at the
        # moment when it is done (python/cpython#86296). So there may have to be another.
        _, running = await asyncio.wait(running, timeout=_CANCEL_AGAIN_SECS)


class Backoff:
    """Growing pauses between attempts, of random length so that nodes do not try in step."""

    def __init__(self, max_secs: float = _BACKOFF_MAX_SECS) -> None:
        self._max_secs = max_secs
        self.reset()

    def reset(self) -> None:
        """Begin with the shortest pause again, after a success."""
        self._next_secs = _BACKOFF_FIRST_SECS

    async def pause(self) -> None:
        """Wait for about twice as long as the last time, at most ``max_secs``."""
        await asyncio.sleep(self._next_secs * random.uniform(0.5, 1.0))  # noqa: S311  not a secret
        self._next_secs = min(self._next_secs * 2, self._max_secs)
