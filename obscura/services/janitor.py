"""The clean-ups: each once in a while, and on one node of all at a time."""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from secrets import token_hex

from obscura.errors import StoreUnavailable, Unavailable
from obscura.store.leases import Lease

log = logging.getLogger(__name__)

_PAUSE_MIN, _PAUSE_MAX = 0.8, 1.0  # in intervals, so that nodes started together drift apart
_MAX_BACKOFF = 8  # in intervals


class Janitor:
    """Runs one sweep every interval, unless another node is at it.

    After a sweep that failed the pause doubles, up to 8 intervals.

    Args:
        lease: Held while it sweeps.
        sweep: Cleans up; may be cancelled at any point.
        hold_secs: How long a node that died mid-sweep keeps the others off.
    """

    def __init__(
        self,
        lease: Lease,
        sweep: Callable[[], Awaitable[None]],
        interval_secs: float,
        hold_secs: float = 10.0,
    ) -> None:
        self._lease = lease
        self._sweep = sweep
        self._interval_secs = interval_secs
        self._hold_secs = hold_secs
        self._hold_ms = int(hold_secs * 1000)
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        backoff = 1
        while True:
            pause_secs = self._interval_secs * backoff * random.uniform(_PAUSE_MIN, _PAUSE_MAX)  # noqa: S311  no secret
            await asyncio.sleep(pause_secs)
            try:
                await self._sweep_alone()
            except Unavailable:
                log.info("the clean-up waits for its store")
                backoff = min(2 * backoff, _MAX_BACKOFF)
            except Exception:
                # Whatever is wrong this time, a task that ended here would leave all that expires for ever.
                log.exception("the clean-up failed")
                backoff = min(2 * backoff, _MAX_BACKOFF)
            else:
                backoff = 1

    async def _sweep_alone(self) -> None:
        token = token_hex(16)
        try:
            if await self._lease.take(token, self._hold_ms):
                await self._sweep_as_holder(token)
        finally:  # also of a call that was cancelled before it said whether it took it
            with suppress(StoreUnavailable):  # then it runs out
                await self._lease.release(token)

    async def _sweep_as_holder(self, token: str) -> None:
        try:
            async with asyncio.timeout(self._hold_secs) as held:
                keeping = asyncio.create_task(self._keep(token, held))
                try:
                    await self._sweep()
                finally:
                    keeping.cancel()
                    await asyncio.gather(keeping, return_exceptions=True)
        except TimeoutError as error:
            raise StoreUnavailable("the lease of the clean-up ran out") from error

    async def _keep(self, token: str, held: asyncio.Timeout) -> None:
        """Renew the lease, and with it the time that the sweep has."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(self._hold_secs / 4)
            asked_at = loop.time()
            with suppress(StoreUnavailable):
                if not await self._lease.renew(token, self._hold_ms):
                    held.reschedule(asked_at)
                    return
                held.reschedule(asked_at + self._hold_secs)
