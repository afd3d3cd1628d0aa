"""When something was last done, by whichever node."""

from obscura.redis_client.commands import CommandExecutor

_MEMORY_MS = 30 * 24 * 3_600_000


class LastRun:
    """The moment when something was last done, by the clock of Redis: those of the nodes do not matter.

    Args:
        key: Its name in Redis. It lives 30 days from that moment on, so its TTL tells the age.
    """

    def __init__(self, commands: CommandExecutor, key: str) -> None:
        self._commands = commands
        self._key = key

    async def set_now(self) -> None:
        """It was done at this moment. Safe to repeat."""
        await self._commands.call("SET", self._key, "", "PX", _MEMORY_MS)

    async def age_ms(self) -> int | None:
        """How long ago that was. None: never, or more than 30 days ago. Safe to repeat."""
        left_ms = int(await self._commands.call("PTTL", self._key))
        return None if left_ms < 0 else max(0, _MEMORY_MS - left_ms)
