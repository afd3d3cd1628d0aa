"""Token buckets in the memory of one process, for limits that guard its speed."""

import math
import time
from collections.abc import Callable

from obscura.errors import TooManyRequests
from obscura.observability.metrics.http import RATE_LIMITED
from obscura.settings.limits import RateLimitConfig

_MAX_CLIENTS = 65_536  # remembered in each of two tables, 10 MiB together
_NS_PER_SEC = 1_000_000_000


class LocalTokenBuckets:
    """Token buckets of this process, one per client, each one number: when it is full again.

    Whoever is not listed has a full bucket. There are two tables, and no client is looked
    through: what has not been touched for the time a bucket takes to fill is dropped as a
    table. A flood of addresses makes that happen earlier, so memory is bounded; its price
    is that some of the flooders start with a full bucket again.

    Args:
        now_ns: A clock that never goes back.
        max_clients: Remembered in each table.
    """

    def __init__(
        self,
        config: RateLimitConfig,
        now_ns: Callable[[], int] = time.monotonic_ns,
        max_clients: int = _MAX_CLIENTS,
    ) -> None:
        self._config = config
        self._interval_ns = math.ceil(_NS_PER_SEC / config.per_second)
        self._fill_ns = config.burst * self._interval_ns
        self._tolerance_ns = self._fill_ns - self._interval_ns
        self._now_ns = now_ns
        self._max_clients = max_clients
        self._recent: dict[str, int] = {}
        self._older: dict[str, int] = {}
        self._next_rotation_ns = 0

    def __len__(self) -> int:
        """How many clients are remembered, some twice."""
        return len(self._recent) + len(self._older)

    def take(self, client: str) -> None:
        """Take a token.

        Raises:
            TooManyRequests: There is none.
        """
        now_ns = self._now_ns()
        if now_ns >= self._next_rotation_ns or len(self._recent) >= self._max_clients:
            self._rotate(now_ns)
        full_ns = self._recent.get(client) or self._older.get(client, 0)
        wait_ns = full_ns - self._tolerance_ns - now_ns
        if wait_ns > 0:
            if wait_ns > self._interval_ns:  # the clock went back all the same: no bucket is emptier than empty
                wait_ns = self._interval_ns
                self._recent[client] = now_ns + self._fill_ns
            RATE_LIMITED.labels(self._config.tier).inc()
            raise TooManyRequests(self._config.refusal, -(-wait_ns // _NS_PER_SEC))
        self._recent[client] = max(now_ns, full_ns) + self._interval_ns

    def _rotate(self, now_ns: int) -> None:
        # Who is in the older table alone was last served before the turn before this one.
        is_full = now_ns >= self._next_rotation_ns + self._fill_ns
        self._older = {} if is_full else self._recent
        self._recent = {}
        self._next_rotation_ns = now_ns + self._fill_ns
