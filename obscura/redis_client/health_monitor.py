"""What every node looks at in Redis once in a while, for its metrics: the clock and the memory.

Sessions, expiry and clean-up compare times that nodes and Redis took, so their clocks
must agree. And a Redis whose memory is full refuses every message.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Any, Protocol

from obscura.errors import StoreUnavailable
from obscura.observability.metrics.redis import REDIS_CLOCK_SKEW, REDIS_MEMORY_USED
from obscura.redis_client.requirements import parse_info
from obscura.tasks import end_tasks

log = logging.getLogger(__name__)

PERIOD_SECS = 15.0  # as often as metrics are read, by default


class Master(Protocol):
    """A connection to a master."""

    def call(self, *command: str) -> Awaitable[Any]:
        """Run one command; raises `StoreUnavailable`."""


class RedisHealthMonitor:
    """Sets the metrics once in a period, until it is stopped. While Redis is away the last values stand.

    Args:
        masters: Names those there are at the moment; of several the worst counts.
        now: This machine's clock, in seconds since the epoch.
    """

    def __init__(
        self,
        masters: Callable[[], Collection[Master]],
        period_secs: float = PERIOD_SECS,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._masters = masters
        self._period_secs = period_secs
        self._now = now
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        await end_tasks(self._task)

    async def _run(self) -> None:
        while True:
            try:
                masters = self._masters()
                REDIS_CLOCK_SKEW.set(max([await self._skew_of(master) for master in masters], default=0))
                REDIS_MEMORY_USED.set(max([await self._memory_used_of(master) for master in masters], default=0))
            except StoreUnavailable:
                log.debug("no vital signs of Redis")
            except Exception:
                # One odd reply is not to end the monitor.
                log.exception("the vital signs of Redis could not be read")
            await asyncio.sleep(self._period_secs)

    async def _skew_of(self, master: Master) -> float:
        # Redis looked at its clock at some moment between our two looks. A slow network or a busy loop
        # draws these apart, so only a time of Redis outside of them proves a difference, and only by so much.
        sent = self._now()
        seconds, microseconds = await master.call("TIME")
        theirs = int(seconds) + int(microseconds) / 1_000_000
        return max(0.0, sent - theirs, theirs - self._now())

    async def _memory_used_of(self, master: Master) -> float:
        return memory_used(parse_info(await master.call("INFO", "memory")))


def memory_used(info: Mapping[str, str]) -> float:
    """The share of its memory that a Redis uses, by its INFO; 0 if it does not tell what it has."""
    limit = int(info.get("maxmemory", 0)) or int(info.get("total_system_memory", 0))
    return int(info.get("used_memory", 0)) / limit if limit else 0.0
