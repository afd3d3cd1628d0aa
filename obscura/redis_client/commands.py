"""Where commands are answered: the interface that everything above speaks to, and the case of one server."""

from collections.abc import Awaitable, Collection
from typing import Any, Protocol

from obscura.redis_client.connection import Connection
from obscura.redis_client.endpoints import Server
from obscura.redis_client.replication import ReplicatedWrites
from obscura.redis_client.transport import Argument


class CommandExecutor(Protocol):
    """One Redis, whatever it is made of. Nothing is ever sent twice, unless its server said that it did nothing.

    Attributes:
        publish: The command that publishes: PUBLISH, or SPUBLISH for sharded channels.
    """

    publish: str

    async def start(self) -> None:
        """Connect for the first time; raises `StoreUnavailable`."""

    async def stop(self) -> None: ...

    def call(self, *command: Argument) -> Awaitable[Any]:
        """Run one command, where its key lies, and return the reply.

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
    def servers(self) -> Collection[Connection]:
        """A connection to each master, for commands that concern all."""


class Standalone:
    """One server: a connection for all, and one of its own for what must be copied.

    Args:
        replicas: So many must have a copy; 0 for no wait.
    """

    publish = "PUBLISH"

    def __init__(self, server: Server, replicas: int = 0) -> None:
        self._server = server
        self.connection = Connection(server)
        self._copied = ReplicatedWrites(Connection(server), replicas) if replicas else None
        self.call = self.connection.call
        self.call_replicated = self._copied.call if self._copied else self.connection.call
        self.servers = (self.connection,)

    async def start(self) -> None:
        await self.connection.start()
        if self._copied:
            await self._copied.connection.start()

    def start_connecting(self) -> None:
        """Connect in the background, for as long as it takes."""
        self.connection.start_connecting()
        if self._copied:
            self._copied.connection.start_connecting()

    async def stop(self) -> None:
        await self.connection.stop()
        if self._copied:
            await self._copied.connection.stop()
        await self._server.close()
