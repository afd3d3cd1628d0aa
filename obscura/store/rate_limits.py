"""Token buckets that all nodes share, for what security rests on."""

import math
from dataclasses import dataclass

from obscura.errors import TooManyRequests
from obscura.observability.metrics.http import RATE_LIMITED
from obscura.redis_client.scripts import Scripts
from obscura.store import keyspace

_US_PER_SEC = 1_000_000
_MS_PER_SEC = 1_000


@dataclass(frozen=True, slots=True)
class Bucket:
    """What one limit allows.

    Attributes:
        tier: The limit's name, in its keys and its metric.
        per_second: Tokens a bucket gains.
        burst: Tokens it holds.
        refusal: What a client reads that found it empty.
    """

    tier: str
    per_second: float
    burst: int
    refusal: str

    @property
    def interval_us(self) -> int:
        """Between two tokens."""
        return math.ceil(_US_PER_SEC / self.per_second)


class RateLimit:
    """One limit, with a bucket for each subject it is counted for. Full buckets take no memory."""

    def __init__(self, scripts: Scripts, bucket: Bucket) -> None:
        self._scripts = scripts
        self._bucket = bucket

    async def take(self, subject: str) -> None:
        """Take a token; over all nodes none is taken twice.

        Raises:
            TooManyRequests: There is none.
            StoreUnavailable: Whether there is one cannot be told. It may be taken.
        """
        bucket = self._bucket
        wait_ms = await self._scripts.run(
            "rate_limit_take", keys=[self._key_of(subject)], args=[bucket.interval_us, bucket.burst]
        )
        if wait_ms:
            RATE_LIMITED.labels(bucket.tier).inc()
            raise TooManyRequests(bucket.refusal, math.ceil(wait_ms / _MS_PER_SEC))

    async def refund(self, subject: str) -> None:
        """Put back a token that turned out not to count.

        Raises:
            StoreUnavailable: No reply. Not to be repeated: that could give back two.
        """
        await self._scripts.run("rate_limit_give_back", keys=[self._key_of(subject)], args=[self._bucket.interval_us])

    def _key_of(self, subject: str) -> str:
        return keyspace.limit(self._bucket.tier, subject)
