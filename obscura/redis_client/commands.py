"""Running commands: the interface that everything above speaks to, and the case of one server."""

from collections.abc import Awaitable, Collection, Sequence
from typing import Any, Protocol

from obscura.redis_client.connection import CommandConnection
from obscura.redis_client.endpoints import Endpoint
from obscura.redis_client.replication import ReplicatedWrites
from obscura.redis_client.transport import Argument
from obscura.redis_client.vetting import Vetting


class CommandExecutor(Protocol):
    """One Redis: a server, or the masters of a Cluster. No command is sent again, unless the server refused to run it.

    Attributes:
        publish: The command that publishes: PUBLISH, or SPUBLISH for sharded channels.
    """

    publish: str

    async def start(self) -> None:
        """Connect for the first time; raises `StoreUnavailable`."""

    async def stop(self) -> None:
        """Close every connection; calls under way and later ones raise `StoreUnavailable`."""

    def call(self, *command: Argument) -> Awaitable[Any]:
        """Run one command, where its key lies, and return the reply. Cancelled, it may have run all the same.

        Raises:
            StoreUnavailable: No connection, no reply in time, or Redis refuses for now.
            hiredis.ReplyError: Redis refuses the command as such.
        """

    def call_replicated(self, *command: Argument) -> Awaitable[Any]:
        """As `call`, and returns only when as many replicas as configured have what the command wrote.

        Raises:
            StoreUnavailable: Also when they do not have it in time. It is written all the same.
        """

    @property
    def masters(self) -> Collection[CommandConnection]:
        """A connection to each master, for commands that all of them are to run."""

    def one_for_each_master(self, keys: Sequence[str]) -> Collection[str]:
        """Of these keys one that lies at each master, as far as there is one."""


class Standalone:
    """One server: a connection for all commands, and another for the writes that wait for replicas.

    Args:
        replicas: So many must have a copy; 0 for no wait.
        vetting: Says whether the server may be used; None: any may.
    """

    publish = "PUBLISH"

    def __init__(self, endpoint: Endpoint, replicas: int = 0, vetting: Vetting | None = None) -> None:
        self._endpoint = endpoint
        self.connection = CommandConnection(endpoint, vetting)
        self._replicated = ReplicatedWrites(CommandConnection(endpoint, vetting), replicas) if replicas else None
        self.call = self.connection.call
        self.call_replicated = self._replicated.call if self._replicated else self.connection.call
        self.masters = (self.connection,)

    async def start(self) -> None:
        await self.connection.start()
        if self._replicated:
            await self._replicated.connection.start()

    def start_in_background(self) -> None:
        """Connect in the background, for as long as it takes."""
        self.connection.start_in_background()
        if self._replicated:
            self._replicated.connection.start_in_background()

    def one_for_each_master(self, keys: Sequence[str]) -> Collection[str]:
        return keys[:1]

    async def stop(self) -> None:
        await self.connection.stop()
        if self._replicated:
            await self._replicated.connection.stop()
        await self._endpoint.close()
