"""The open connections of a server: how many there may be, which wait for a request, and their end."""

import asyncio
from collections.abc import Callable
from typing import Protocol

from obscura.observability.metrics.http import CONNECTIONS_DROPPED

# How many may wait at a time to be told that there are too many: one in so many of those that may be, and a bound.
_REFUSED_SHARE, _MAX_REFUSED = 8, 64


class Connection(Protocol):
    """What a server needs of a connection to end it."""

    def force_close(self) -> None:
        """Close at once."""

    def close_after_response(self) -> None:
        """Close, behind the answer to the request that is being served, if there is one."""

    def refuse_requests(self) -> None:
        """Answer the first request that there are too many connections, and close behind that."""


class Connections:
    """The open connections of a server.

    aiohttp's own way to stop reads nothing more from any of them, so a request whose body is
    still arriving would never get its answer.

    Connections cost their client nothing. So that those on which nobody asks for anything keep
    nobody out, they make room when there are too many: first the one that is idle for longest. If
    all are in use, a new one is told so, and of those who are to be told so there are not many.

    Args:
        max_connections: How many there may be, asked for each new one.

    Attributes:
        is_keep_alive_disabled: Every answer says from now on that its connection ends.
    """

    def __init__(self, max_connections: Callable[[], float]) -> None:
        self.is_keep_alive_disabled = False
        self._max_connections = max_connections
        self._open: set[Connection] = set()
        self._idle: dict[Connection, None] = {}  # in the order in which they fell idle
        self._refused: dict[Connection, None] = {}  # in the order in which they were made
        self._all_closed = asyncio.Event()
        self._all_closed.set()

    def add(self, connection: Connection) -> None:
        """One was made, and waits for its first request."""
        self._open.add(connection)
        self._all_closed.clear()
        most = self._max_connections()
        if len(self._open) > most:
            if not self._idle:
                self._refuse(connection, most)
                return
            _close_first(self._idle)
            CONNECTIONS_DROPPED.labels("idle").inc()
        self.mark_idle(connection)

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
        self._refused.pop(connection, None)
        if not self._open:
            self._all_closed.set()

    def _refuse(self, connection: Connection, most: float) -> None:
        connection.refuse_requests()
        self._refused[connection] = None
        if len(self._refused) > max(1, min(most // _REFUSED_SHARE, _MAX_REFUSED)):
            _close_first(self._refused)
            CONNECTIONS_DROPPED.labels("new").inc()

    @property
    def any_open(self) -> bool:
        return bool(self._open)

    async def close_after_responses(self) -> None:
        """Close each, behind the answer to the request it is serving, and wait until none is left."""
        for connection in tuple(self._open):
            connection.close_after_response()
        await self._all_closed.wait()


def _close_first(connections: dict[Connection, None]) -> None:
    first = next(iter(connections))
    del connections[first]  # it stays open for a moment, and is not to be chosen again
    first.force_close()
