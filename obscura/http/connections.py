"""The open connections of a server: how many there may be, which wait for a request, and their end."""

import asyncio
from typing import Protocol


class Connection(Protocol):
    """What a server needs of a connection to end it."""

    def force_close(self) -> None:
        """Close at once."""

    def close_after_response(self) -> None:
        """Close, behind the answer to the request that is being served, if there is one."""


class Connections:
    """The open connections of a server.

    aiohttp's own way to stop reads nothing more from any of them, so a request whose body is
    still arriving would never get its answer.

    Connections cost their client nothing. So that those on which nobody asks for anything keep
    nobody out, they make room when there are too many: first the one that is idle for longest.

    Attributes:
        is_keep_alive_disabled: Every answer says from now on that its connection ends.
    """

    def __init__(self, max_connections: float) -> None:
        self.is_keep_alive_disabled = False
        self._max_connections = max_connections
        self._open: set[Connection] = set()
        self._idle: dict[Connection, None] = {}  # in the order in which they fell idle
        self._all_closed = asyncio.Event()
        self._all_closed.set()

    def add(self, connection: Connection) -> None:
        """One was made, and waits for its first request."""
        self._open.add(connection)
        self._all_closed.clear()
        self.mark_idle(connection)
        if len(self._open) > self._max_connections:
            longest = next(iter(self._idle))
            del self._idle[longest]  # it stays open for a moment, and is not to be chosen again
            longest.force_close()

    def mark_idle(self, connection: Connection) -> None:
        """It waits for a request."""
        if connection in self._open:
            self._idle[connection] = None

    def mark_busy(self, connection: Connection) -> None:
        """It has one."""
        self._idle.pop(connection, None)

    def discard(self, connection: Connection) -> None:
        """It is closed."""
        self._open.discard(connection)
        self._idle.pop(connection, None)
        if not self._open:
            self._all_closed.set()

    @property
    def any_open(self) -> bool:
        return bool(self._open)

    async def close_after_responses(self) -> None:
        """Close each, behind the answer to the request it is serving, and wait until none is left."""
        for connection in tuple(self._open):
            connection.close_after_response()
        await self._all_closed.wait()
