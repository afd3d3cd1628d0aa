"""Whether Redis would take a message at this moment."""

from obscura.redis_client.commands import CommandExecutor
from obscura.redis_client.scripts import Scripts
from obscura.store import keyspace
from obscura.tasks import gather_all

_PROBES = tuple(keyspace.health(number) for number in range(64))  # enough for each master of a Cluster to have one


class WriteProbe:
    """Writes what a message writes, at every master, and removes it in the same step."""

    def __init__(self, commands: CommandExecutor, scripts: Scripts) -> None:
        self._commands = commands
        self._scripts = scripts

    async def run(self) -> None:
        """Try it. Safe to repeat.

        Raises:
            RedisRefusal: Sends are refused at this moment, and why.
            StoreUnavailable: No reply.
        """
        keys = self._commands.one_for_each_master(_PROBES)
        await gather_all(self._scripts.run("health_probe", [key], [self._commands.publish]) for key in keys)
