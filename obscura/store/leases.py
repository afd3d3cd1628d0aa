"""Leases: what only one node of all may do at a time."""

from obscura.redis_client.scripts import Scripts


class Lease:
    """One lease; whoever takes it holds it until it is released or runs out.

    Args:
        key: Its name in Redis.
    """

    def __init__(self, scripts: Scripts, key: str) -> None:
        self._scripts = scripts
        self._key = key

    async def acquire(self, token: str, hold_ms: int) -> bool:
        """Become the holder, under a token nobody else has. False: somebody holds it. A repeat gets False.

        Raises:
            StoreUnavailable: No reply. It may be held, as after a cancellation: `release` it.
        """
        return bool(await self._scripts.run("leases_take", [self._key], [token, hold_ms]))

    async def renew(self, token: str, hold_ms: int) -> bool:
        """Hold it for ``hold_ms`` from now on. False: it ran out. Safe to repeat."""
        return bool(await self._scripts.run("leases_renew", [self._key], [token, hold_ms]))

    async def release(self, token: str) -> None:
        """Give it back, if it is still held. Safe to repeat."""
        await self._scripts.run("leases_release", [self._key], [token])
