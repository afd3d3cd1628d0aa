"""What every node looks at in Redis once in a while: the clock and the memory.

Sessions and attachments expire by Redis's clock, which nodes carry on in between. A machine
whose own clock is far from it shows in the metrics. A Redis whose memory is full refuses
every message. And one that was configured anew may not do any more, which each look at a
connection finds out.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Any, NamedTuple, Protocol

from obscura.clock import SharedClock
from obscura.errors import StoreUnavailable
from obscura.observability.metrics.redis import REDIS_CLOCK_SKEW, REDIS_MEMORY_USED
from obscura.redis_client.requirements import parse_info
from obscura.tasks import end_tasks, gather_all

log = logging.getLogger(__name__)

PERIOD_SECS = 15.0  # as often as metrics are read, by default


class Master(Protocol):
    """A connection to a master."""

    def call(self, *command: str) -> Awaitable[Any]:
        """Run one command; raises `StoreUnavailable`."""

    async def look(self) -> None:
        """Look whether it still does; raises `StoreUnavailable`."""


class _Time(NamedTuple):
    """What one master said its time is, when it was asked by our `SharedClock.elapsed`, and how far off we are."""

    redis_secs: float
    asked_at: float
    skew_secs: float


class RedisHealthMonitor:
    """Sets the metrics and the shared clock once in a period, until it is stopped. While Redis is away they stand.

    Args:
        masters: Names those there are at the moment; of several the worst counts.
        now: This machine's clock, in seconds since the epoch.
        clock: Is told what Redis says. Of several masters the one that is ahead counts: an entry
            that it has let expire is of a token that has expired here, too.

    Attributes:
        skew_secs: How far at least this machine's clock was from Redis's when it was last looked at.
    """

    def __init__(
        self,
        masters: Callable[[], Collection[Master]],
        period_secs: float = PERIOD_SECS,
        now: Callable[[], float] = time.time,
        clock: SharedClock | None = None,
    ) -> None:
        self._masters = masters
        self._period_secs = period_secs
        self._now = now
        self._clock = clock or SharedClock()
        self._task: asyncio.Task[None] | None = None
        self.skew_secs = 0.0

    async def start(self) -> None:
        """Look for the first time, and go on in the background.

        Raises:
            StoreUnavailable: No reply.
        """
        await self._look_at_clocks()
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        await end_tasks(self._task)

    async def _run(self) -> None:
        while True:
            try:
                await gather_all(master.look() for master in self._masters())
                await self._look_at_clocks()
                shares = [await self._memory_used_of(master) for master in self._masters()]
                REDIS_MEMORY_USED.set(max(shares, default=0))
            except StoreUnavailable:
                log.debug("no vital signs of Redis")
            except Exception:
                # One odd reply is not to end the monitor.
                log.exception("the vital signs of Redis could not be read")
            await asyncio.sleep(self._period_secs)

    async def _look_at_clocks(self) -> None:
        times = [await self._time_of(master) for master in self._masters()]
        self.skew_secs = max((one.skew_secs for one in times), default=0)
        REDIS_CLOCK_SKEW.set(self.skew_secs)
        if times:
            ahead = max(times, key=lambda one: one.redis_secs - one.asked_at)
            self._clock.hear(ahead.redis_secs, ahead.asked_at)

    async def _time_of(self, master: Master) -> _Time:
        # Redis looked at its clock at some moment between our two looks. A slow network or a busy loop
        # draws these apart, so only a time of Redis outside of them proves a difference, and only by so much.
        asked_at, sent = self._clock.elapsed(), self._now()
        seconds, microseconds = await master.call("TIME")
        theirs = int(seconds) + int(microseconds) / 1_000_000
        return _Time(theirs, asked_at, max(0.0, sent - theirs, theirs - self._now()))

    async def _memory_used_of(self, master: Master) -> float:
        return memory_used(parse_info(await master.call("INFO", "memory")))


def memory_used(info: Mapping[str, str]) -> float:
    """The share of its memory that a Redis uses, by its INFO; 0 if it does not tell what it has."""
    limit = int(info.get("maxmemory", 0)) or int(info.get("total_system_memory", 0))
    return int(info.get("used_memory", 0)) / limit if limit else 0.0
