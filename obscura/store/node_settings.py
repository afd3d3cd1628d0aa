"""What each node goes by, where nodes that differ would treat one inbox in two ways."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Self

import orjson

from obscura.redis_client.commands import CommandExecutor
from obscura.redis_client.scripts import Scripts
from obscura.settings.model import Settings
from obscura.store import keyspace

_LIFE_MS = 60_000  # of a report that is not renewed


@dataclass(frozen=True, slots=True)
class NodeSettings:
    """The settings that all nodes of a relay should share; None: this node does not tell, as one of a later release."""

    ttl_days: float | None = None
    max_inbox_size: int | None = None
    max_inbox_bytes: int | None = None

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        return cls(settings.ttl_days, settings.max_inbox_size, settings.max_inbox_bytes)

    @classmethod
    def parse(cls, said: bytes) -> Self:
        """Read a report; fields that this release does not know are passed over."""
        try:
            fields = orjson.loads(said)
        except orjson.JSONDecodeError:
            return cls()
        return cls(**{name: fields.get(name) for name in cls.__slots__}) if isinstance(fields, dict) else cls()


class NodeReports:
    """The reports of all nodes. Every call raises `StoreUnavailable` when Redis is away, and may be repeated."""

    def __init__(self, commands: CommandExecutor, scripts: Scripts) -> None:
        self._commands = commands
        self._scripts = scripts

    async def report(self, node_id: str, settings: NodeSettings) -> Mapping[str, NodeSettings]:
        """Tell what a node goes by; returns what each goes by that has told lately."""
        return await self._run(node_id, orjson.dumps(asdict(settings)))

    async def withdraw(self, node_id: str) -> None:
        """The node leaves."""
        await self._run(node_id, b"")

    async def _run(self, node_id: str, said: bytes) -> Mapping[str, NodeSettings]:
        reply = await self._scripts.run("nodes_report", [keyspace.NODE_SETTINGS], [node_id, said, _LIFE_MS])
        return {name.decode(): NodeSettings.parse(report) for name, report in zip(reply[::2], reply[1::2], strict=True)}


async def read_reports(commands: CommandExecutor) -> Mapping[str, NodeSettings]:
    """What nodes have told, by their id, those that ended of late among them. Raises `StoreUnavailable`."""
    reply = await commands.call("HGETALL", keyspace.NODE_SETTINGS)
    return {
        name.decode(): NodeSettings.parse(said.partition(b" ")[2])
        for name, said in zip(reply[::2], reply[1::2], strict=True)
    }
