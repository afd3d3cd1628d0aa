"""HTTP to the nodes of this machine: the load generator's client, on a connection that goes where it is told."""

import asyncio
from collections.abc import Mapping
from typing import Any

from obscura.client.http import HttpConnection, Reply, Traffic, bearer, request_head
from obscura.client.target import Target

TIMEOUT_SECS = 20.0
JSON = {"Content-Type": "application/json"}
_NO_HEADERS: Mapping[str, str] = {}


def local(port: int) -> Target:
    """A node of this machine."""
    return Target("127.0.0.1", port, tls=False)


class LocalConnection:
    """One connection to a port of this machine, opened when needed and kept; requests take turns on it."""

    def __init__(self) -> None:
        self._turn = asyncio.Lock()
        self._connection: HttpConnection | None = None

    async def ask(
        self,
        port: int,
        method: str,
        path: str,
        *,
        token: str = "",
        body: bytes = b"",
        headers: Mapping[str, str] = _NO_HEADERS,
    ) -> Reply:
        """Make one request.

        Raises:
            NotSentError: Nobody listens there.
            ExchangeError: The connection ended or stalled before the answer: nobody knows what became of it.
        """
        async with self._turn:
            connection = self._to(port)
            all_headers = {**headers, **(bearer(token) if token else {})}
            return await connection.exchange(
                request_head(connection.target, method, path, len(body), all_headers) + body
            )

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _to(self, port: int) -> HttpConnection:
        if self._connection is None or self._connection.target.port != port:
            self.close()
            self._connection = HttpConnection(local(port), Traffic(), TIMEOUT_SECS)
        return self._connection


async def ask_once(port: int, method: str, path: str, **options: Any) -> Reply:
    """Make one request on a connection of its own."""
    connection = LocalConnection()
    try:
        return await connection.ask(port, method, path, **options)
    finally:
        connection.close()
