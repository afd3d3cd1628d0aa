"""The clean-ups: each runs again and again, on one node of all at a time."""

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
from obscura.tasks import end_tasks

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
        last_run: When a sweep last came to its end, on any node.
    """

    def __init__(self, kind: str, last_run: LastRun, now: Callable[[], float] = time.monotonic) -> None:
        self._kind = kind
        self._last_run = last_run
        self._now = now
        self._done_at = now()  # or the start of this process, while there is none

    def start(self, interval_secs: float) -> None:
        """Set the gauges of this kind; the age is told from now on."""
        JANITOR_INTERVAL.labels(self._kind).set(interval_secs)
        JANITOR_AGE.labels(self._kind).set_function(lambda: self._now() - self._done_at)

    async def add(self, outcome: str) -> None:
        """Count a round, and learn of sweeps that other nodes have finished.

        Args:
            outcome: "done", "elsewhere", "failed" or "lease lost".
        """
        JANITOR_SWEEPS.labels(self._kind, outcome).inc()
        with suppress(StoreUnavailable):  # then the next round tells
            if outcome == "done":
                self._done_at = self._now()
                await self._last_run.set_now()
            else:
                await self.refresh()

    async def refresh(self) -> None:
        """Ask Redis when the last sweep came to its end. May be repeated.

        Raises:
            StoreUnavailable: What was known before stands.
        """
        age_ms = await self._last_run.age_ms()
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

    def start(self, *, at_once: bool = False) -> None:
        """Sweep from now on, the first time after an interval unless ``at_once``."""
        self._record.start(self._interval_secs)
        self._task = asyncio.create_task(self._run(at_once))

    async def stop(self) -> None:
        """End the sweep that is under way, if there is one, and give the lease back. Safe to repeat."""
        if self._task is not None:
            self._task.cancel()  # once: cancelled again, it would not give the lease back
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self, at_once: bool) -> None:
        backoff = 0 if at_once else 1
        with suppress(StoreUnavailable):
            await self._record.refresh()
        while True:
            pause_secs = self._interval_secs * backoff * random.uniform(_PAUSE_MIN, _PAUSE_MAX)  # noqa: S311  no secret
            await asyncio.sleep(pause_secs)
            outcome = await self._try_sweep()
            backoff = 1 if outcome in _FINE else min(max(1, 2 * backoff), _MAX_BACKOFF)
            await self._record.add(outcome)

    async def _try_sweep(self) -> str:
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
        """Sweep unless another node is at it; returns whether this one did."""
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
                renewing = asyncio.create_task(self._renew_lease(token, held))
                try:
                    await self._sweep()
                finally:
                    await end_tasks(renewing)
        except TimeoutError as error:
            raise _LeaseLost("the lease of the clean-up ran out") from error

    async def _renew_lease(self, token: str, held: asyncio.Timeout) -> None:
        """Renew the lease again and again, and with it the time that the sweep has."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(self._hold_secs / 4)
            asked_at = loop.time()
            with suppress(StoreUnavailable):
                if not await self._lease.renew(token, self._hold_ms):
                    held.reschedule(asked_at)
                    return
                held.reschedule(asked_at + self._hold_secs)
