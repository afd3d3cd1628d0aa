"""The clean-ups: each once in a while, and on one node of all at a time."""

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from secrets import token_hex

from obscura.errors import StoreUnavailable, Unavailable
from obscura.observability.metrics.cleanup import JANITOR_AGE, JANITOR_INTERVAL, JANITOR_SWEEPS
from obscura.store.last_runs import LastRun
from obscura.store.leases import Lease

log = logging.getLogger(__name__)

_PAUSE_MIN, _PAUSE_MAX = 0.8, 1.0  # in intervals, so that nodes started together drift apart
_MAX_BACKOFF = 8  # in intervals
_FINE = frozenset({"done", "elsewhere"})


class _LeaseLost(StoreUnavailable):
    """The lease of the clean-up ran out."""


class SweepRecord:
    """What the metrics tell of one kind of clean-up, on whichever nodes it is done.

    Args:
        kind: "messages" or "attachments".
        done: When a sweep last came to its end.
    """

    def __init__(self, kind: str, done: LastRun, now: Callable[[], float] = time.monotonic) -> None:
        self._kind = kind
        self._done = done
        self._now = now
        self._done_at = now()  # or the start of this process, while there is none

    def start(self, interval_secs: float) -> None:
        JANITOR_INTERVAL.labels(self._kind).set(interval_secs)
        JANITOR_AGE.labels(self._kind).set_function(lambda: self._now() - self._done_at)

    async def note(self, outcome: str) -> None:
        """Count a round, and hear of those that other nodes came to the end of."""
        JANITOR_SWEEPS.labels(self._kind, outcome).inc()
        with suppress(StoreUnavailable):  # then the next round tells
            if outcome == "done":
                self._done_at = self._now()
                await self._done.set_now()
            else:
                await self.look()

    async def look(self) -> None:
        """Hear when the last sweep came to its end.

        Raises:
            StoreUnavailable: What was known stands.
        """
        age_ms = await self._done.age_ms()
        if age_ms is not None:
            self._done_at = self._now() - age_ms / 1000


class Janitor:
    """Runs one sweep every interval, unless another node is at it.

    After a sweep that failed the pause doubles, up to 8 intervals.

    Args:
        lease: Held while it sweeps.
        sweep: Cleans up; may be cancelled at any point.
        record: Is told of each round.
        hold_secs: How long a node that died mid-sweep keeps the others off.
    """

    def __init__(
        self,
        lease: Lease,
        sweep: Callable[[], Awaitable[None]],
        record: SweepRecord,
        interval_secs: float,
        hold_secs: float = 10.0,
    ) -> None:
        self._lease = lease
        self._sweep = sweep
        self._record = record
        self._interval_secs = interval_secs
        self._hold_secs = hold_secs
        self._hold_ms = int(hold_secs * 1000)
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._record.start(self._interval_secs)
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self) -> None:
        backoff = 1
        with suppress(StoreUnavailable):
            await self._record.look()
        while True:
            pause_secs = self._interval_secs * backoff * random.uniform(_PAUSE_MIN, _PAUSE_MAX)  # noqa: S311  no secret
            await asyncio.sleep(pause_secs)
            outcome = await self._sweep_and_see()
            backoff = 1 if outcome in _FINE else min(2 * backoff, _MAX_BACKOFF)
            await self._record.note(outcome)

    async def _sweep_and_see(self) -> str:
        """Sweep, and return how it went, as the metrics call it."""
        try:
            return "done" if await self._sweep_alone() else "elsewhere"
        except Unavailable as error:
            log.info("the clean-up waits for its store")
            return "lease lost" if isinstance(error, _LeaseLost) else "failed"
        except Exception:
            # Whatever is wrong this time, a task that ended here would leave all that expires for ever.
            log.exception("the clean-up failed")
            return "failed"

    async def _sweep_alone(self) -> bool:
        """Sweep. False: another node is at it."""
        token = token_hex(16)
        try:
            is_mine = await self._lease.acquire(token, self._hold_ms)
            if is_mine:
                await self._sweep_as_holder(token)
            return is_mine
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
            raise _LeaseLost("the lease of the clean-up ran out") from error

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
