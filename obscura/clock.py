"""The clock that all nodes share: Redis's, as this process has last heard it, carried on in between."""

import time
from collections.abc import Callable
from functools import partial

# Counts on while the machine sleeps, where the system has such a clock.
_elapsed: Callable[[], float] = (
    partial(time.clock_gettime, time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic
)


class SharedClock:
    """Seconds since the epoch by Redis's clock. No round trip.

    Nodes whose own clocks are minutes apart, or are set while they run, agree on it: what the
    machine's clock says counts until Redis is heard for the first time, and never again.

    Args:
        wall: The machine's clock, asked once.
        elapsed: Seconds since some moment; it is never set.

    Attributes:
        elapsed: The same, for what goes by age.
    """

    def __init__(self, wall: Callable[[], float] = time.time, elapsed: Callable[[], float] = _elapsed) -> None:
        self.elapsed = elapsed
        self._ahead_secs = wall() - elapsed()

    def __call__(self) -> float:
        return self.elapsed() + self._ahead_secs

    def hear_at_least(self, redis_secs: float) -> None:
        """Redis's time is this or later: its clock was set ahead, perhaps, since it was last heard."""
        self._ahead_secs = max(self._ahead_secs, redis_secs - self.elapsed())

    def hear(self, redis_secs: float, asked_at: float) -> None:
        """Go by what Redis said its time is.

        It looked at some moment since the question. So a clock that agrees with any of these stays
        as it is, and another moves no further than it is proved wrong.

        Args:
            asked_at: What `elapsed` was when Redis was asked.
        """
        least, most = redis_secs - self.elapsed(), redis_secs - asked_at
        self._ahead_secs = min(max(self._ahead_secs, least), most)
