"""HTTP over one kept connection, and no more than the relay's clients need of it."""

import asyncio
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

TIMEOUT_SECS = 20.0


class NotSentError(ConnectionError):
    """No connection came about: the server has seen nothing of the request."""


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer, read to its end; header names in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def retry_after_secs(self) -> float:
        return float(self.headers.get("retry-after", 1))


class HttpConnection:
    """One connection to a port of this machine, opened when needed and kept; requests take turns on it."""

    def __init__(self) -> None:
        self._port = 0
        self._turn = asyncio.Lock()
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def ask(
        self, port: int, method: str, target: str, *, token: str = "", body: bytes = b"", headers: str = ""
    ) -> Reply:
        """Make one request. ``headers`` is further lines, each with its CRLF.

        Raises:
            NotSentError: Nobody listens there.
            ConnectionError: The connection ended or stalled before the answer: nobody knows what became of it.
        """
        if token:
            headers += f"Authorization: Bearer {token}\r\n"
        head = f"{method} {target} HTTP/1.1\r\nHost: relay\r\nContent-Length: {len(body)}\r\n{headers}\r\n"
        async with self._turn:
            await self._connect(port)
            return await self._exchange(head.encode() + body)

    async def _exchange(self, request: bytes) -> Reply:
        assert self._writer is not None
        try:
            self._writer.write(request)
            async with asyncio.timeout(TIMEOUT_SECS):
                return await self._read()
        except (asyncio.IncompleteReadError, OSError, TimeoutError) as error:
            self.close()
            raise ConnectionError("no answer") from error
        except BaseException:
            self.close()  # else the next request would read the answer to this one
            raise

    async def _connect(self, port: int) -> None:
        if self._writer is not None and (port != self._port or self._reader.at_eof()):
            self.close()
        if self._writer is None:
            try:
                async with asyncio.timeout(TIMEOUT_SECS):
                    self._reader, self._writer = await asyncio.open_connection("127.0.0.1", port)
            except (OSError, TimeoutError) as error:
                raise NotSentError("nobody listens") from error
            self._port = port

    async def _read(self) -> Reply:
        assert self._reader is not None
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        first, *lines = head.split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)}
        body = await self._reader.readexactly(int(headers.get("content-length", 0)))
        if headers.get("connection") == "close":
            self.close()
        return Reply(int(first.split(" ", 2)[1]), headers, body)

    def close(self) -> None:
        if self._writer is not None:
            with suppress(RuntimeError):  # the loop is over
                self._writer.transport.abort()
        self._reader = self._writer = None


async def ask_once(port: int, method: str, target: str, **options: Any) -> Reply:
    """Make one request on a connection of its own."""
    connection = HttpConnection()
    try:
        return await connection.ask(port, method, target, **options)
    finally:
        connection.close()
