"""The mark by which a relay knows its data again."""

from uuid import uuid4

from obscura.redis_client.commands import CommandExecutor
from obscura.redis_client.data_mark import DataMark
from obscura.redis_client.scripts import Scripts
from obscura.store import keyspace
from obscura.tasks import gather_all


class DataMarks:
    """The marks in Redis: one, or in a Cluster enough for each master to have some."""

    def __init__(self, commands: CommandExecutor, scripts: Scripts) -> None:
        self._commands = commands
        self._scripts = scripts
        self._keys = keyspace.DATA_MARKS if commands.publish == "SPUBLISH" else keyspace.DATA_MARKS[:1]

    async def read(self) -> DataMark | None:
        """What is there; None: nothing was ever marked, or it is gone. Safe to repeat."""
        return DataMark.parse(await self._commands.call("HMGET", self._keys[0], "id", "generation"))

    async def make(self, steps: int = 0) -> DataMark:
        """Mark what is not marked yet, and return the mark. Safe to repeat.

        Args:
            steps: By how much its generation is to rise.

        Raises:
            StoreUnavailable: No reply.
        """
        first, *others = self._keys
        mark = DataMark.parse(await self._scripts.run("data_mark", [first], [str(uuid4()), steps]))
        assert mark is not None
        await gather_all(self._scripts.run("data_mark", [key], [mark.id, steps]) for key in others)
        return mark
