"""Everything a node has open towards Redis: started, watched and stopped as one."""

import asyncio
import logging
from collections.abc import Callable

from obscura.errors import StartupError, StoreUnavailable
from obscura.store import keyspace
from obscura.store.connection import CLIENT_NAME, Connection, make_pool
from obscura.store.events import Events
from obscura.store.requirements import check_server
from obscura.store.scripts import Scripts
from obscura.telemetry import REDIS_CONNECTED

log = logging.getLogger(__name__)

PUBLISH = "PUBLISH"  # of a standalone server; sharded pub/sub has another command


class Database:
    """The command connection, the scripts and the events connection of one node.

    Args:
        on_event: Called with the channel and the payload of every event.
        on_resumed: Called when events may have been missed.
    """

    def __init__(
        self, url: str, node_id: str, on_event: Callable[[str, bytes], None], on_resumed: Callable[[], None]
    ) -> None:
        pool = make_pool(url, f"{CLIENT_NAME}:{node_id}")
        self.connection = Connection(pool)
        self.scripts = Scripts(self.connection)
        REDIS_CONNECTED.set_function(lambda: self.connection.connected)
        self.events = Events(pool, self.connection, node_id, on_event, on_resumed)

    async def start(self) -> None:
        """Connect, check the server and listen.

        Raises:
            StartupError: Redis cannot be reached or does not do.
        """
        try:
            await self.connection.start()
            await check_server(self.connection)
            await self.events.start({keyspace.ENDED_SESSIONS})
        except StoreUnavailable as error:
            raise StartupError(f"Redis is not available: {error}") from error

    async def stop(self) -> None:
        await self.events.stop()
        await self.connection.stop()

    async def is_alive(self, timeout_secs: float) -> bool:
        """Whether Redis answers in time."""
        try:
            async with asyncio.timeout(timeout_secs):
                await self.connection.call("PING")
        except (StoreUnavailable, TimeoutError):
            return False
        return True

    async def is_hearing(self) -> bool:
        """Whether this node hears its events."""
        return self.events.healthy
