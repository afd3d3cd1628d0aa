"""Whether Redis is well, for /readyz: it answers, may be used, and takes messages."""

import asyncio

from obscura.errors import RedisRefusal, StoreUnavailable, UnfitRedis
from obscura.node.readiness import Trouble
from obscura.redis_client.client import RedisClient
from obscura.store.health import WriteProbe

# What Redis refuses to every node for want of memory, of disk or of replicas. What waits is still delivered, and
# acks make room: to send all clients away would keep it so. Any other refusal may be of this node alone.
_SHARED_REFUSALS = {
    "OOM": "its memory is full",
    "MISCONF": "it cannot write to its disk",
    "NOREPLICAS": "too few replicas are connected to it",
}


class DatabaseCheck:
    """Looks at Redis in the time given.

    Args:
        timeout_secs: After which it counts as away.
    """

    def __init__(self, redis: RedisClient, timeout_secs: float) -> None:
        self._redis = redis
        self._probe = WriteProbe(redis.commands, redis.scripts)
        self._timeout_secs = timeout_secs

    async def __call__(self) -> bool | Trouble:
        try:
            async with asyncio.timeout(self._timeout_secs):
                await self._redis.look()
                await self._probe.run()
        except UnfitRedis as error:
            return Trouble(str(error))
        except RedisRefusal as error:
            if error.code in _SHARED_REFUSALS:
                return Trouble(f"Redis refuses messages: {_SHARED_REFUSALS[error.code]}", may_serve=True)
            return Trouble(f"Redis refuses messages: {error.code}")
        except (StoreUnavailable, TimeoutError):
            return False
        return True
