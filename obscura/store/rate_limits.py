"""Token buckets that all nodes share, for what security rests on."""

import math

from obscura.errors import TooManyRequests
from obscura.observability.metrics.http import RATE_LIMITED
from obscura.redis_client.scripts import Scripts
from obscura.settings.limits import RateLimitConfig
from obscura.store import keyspace

_US_PER_SEC = 1_000_000
_MS_PER_SEC = 1_000


class RateLimit:
    """One limit, with a bucket for each subject it is counted for. Full buckets take no memory.

    No wait is longer than that for one token, whatever the limit was before and the clock of Redis says.
    """

    def __init__(self, scripts: Scripts, config: RateLimitConfig) -> None:
        self._scripts = scripts
        self._config = config
        self._interval_us = math.ceil(_US_PER_SEC / config.per_second)  # between two tokens

    async def take(self, subject: str) -> None:
        """Take a token; over all nodes none is taken twice.

        Raises:
            TooManyRequests: There is none.
            StoreUnavailable: Whether there is one cannot be told. It may be taken.
        """
        wait_ms = await self._scripts.run(
            "rate_limit_take", keys=[self._key_of(subject)], args=[self._interval_us, self._config.burst]
        )
        if wait_ms:
            RATE_LIMITED.labels(self._config.tier).inc()
            raise TooManyRequests(self._config.refusal, math.ceil(wait_ms / _MS_PER_SEC))

    async def refund(self, subject: str) -> None:
        """Put back a token that turned out not to count.

        Raises:
            StoreUnavailable: No reply. Not to be repeated: that could give back two.
        """
        await self._scripts.run(
            "rate_limit_give_back", keys=[self._key_of(subject)], args=[self._interval_us, self._config.burst]
        )

    def _key_of(self, subject: str) -> str:
        return keyspace.limit(self._config.tier, subject)
