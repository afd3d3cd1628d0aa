"""A TCP proxy with switches: between a node and Redis, or a client and a node, it delays, swallows and breaks."""

import asyncio
import socket
import struct
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

_CHUNK_BYTES = 65_536
_REMEMBERED_BYTES = 4_096


class ProxiedConnection:
    """One connection through the proxy.

    Attributes:
        said: The first bytes that its client sent, to tell connections apart.
        swallows_requests: Whether what the client sends is lost.
        swallows_replies: Whether what the server sends is lost.
        swallowed: The replies that were lost.
    """

    def __init__(self, proxy: "Proxy", client: asyncio.StreamWriter, server: asyncio.StreamWriter) -> None:
        self._proxy = proxy
        self._client = client
        self._server = server
        self.said = self.swallowed = b""
        self.swallows_requests = self.swallows_replies = False

    async def forward_requests(self, reader: asyncio.StreamReader) -> None:
        with suppress(OSError):
            while data := await reader.read(_CHUNK_BYTES):
                self.said = (self.said + data)[:_REMEMBERED_BYTES]
                await self._proxy.hold_up(self)
                if not self.swallows_requests and not self._server.is_closing():
                    self._server.write(data)
                    await self._server.drain()
        self._server.close()

    async def forward_replies(self, reader: asyncio.StreamReader) -> None:
        with suppress(OSError):
            while data := await reader.read(_CHUNK_BYTES):
                await self._proxy.hold_up(self)
                if self.swallows_replies:
                    self.swallowed += data
                elif not self._client.is_closing():
                    self._client.write(data)
                    await self._client.drain()
        self._client.close()

    def reset(self) -> None:
        """Break both ends; the client sees a reset."""
        if not self._client.is_closing():
            client = self._client.get_extra_info("socket")
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._client.transport.abort()
        self._server.transport.abort()


class Proxy:
    """Forwards connections to ``upstream``, a unix socket or a host and port. Use it as a context.

    Attributes:
        upstream: Where new connections go.
        port: Where it listens on 127.0.0.1.
        connections: The connections that are open.
        delay_secs: How long each piece of data is held up, in both directions.
        is_silent: Whether new connections are accepted and then swallowed.
    """

    def __init__(self, upstream: Path | tuple[str, int]) -> None:
        self.upstream = upstream
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.port = 0
        self.connections: list[ProxiedConnection] = []
        self.delay_secs = 0.0
        self.is_silent = False
        self._is_over = False
        self._cut_off: list[bytes] = []
        self._healed = asyncio.Event()

    @property
    def redis_url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.close()
        self._is_over = True
        self.heal()
        self.reset()
        await asyncio.gather(*self._tasks)

    def matching(self, words: bytes) -> list[ProxiedConnection]:
        """The open connections whose client said this."""
        return [connection for connection in self.connections if words in connection.said]

    def blackhole(self, words: bytes = b"") -> None:
        """Swallow all that comes on the open connections whose client said this; they stay up."""
        for connection in self.matching(words):
            connection.swallows_requests = connection.swallows_replies = True

    def reset(self, words: bytes = b"") -> None:
        """Break the open connections whose client said this."""
        for connection in self.matching(words):
            connection.reset()

    def cut_off(self, words: bytes = b"") -> None:
        """Hold back all that is sent on the connections, open and new, whose client said this, until `heal`.

        As in a network that lost its way: both ends stay up, and what was held back arrives afterwards,
        the end of a connection too.
        """
        self._cut_off.append(words)
        self._healed.clear()

    def heal(self) -> None:
        self._cut_off.clear()
        self._healed.set()

    async def hold_up(self, connection: ProxiedConnection) -> None:
        if self.delay_secs:
            await asyncio.sleep(self.delay_secs)
        while any(words in connection.said for words in self._cut_off):
            await self._healed.wait()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            server_reader, server_writer = await self._connect()
        except OSError:
            writer.close()
            return
        connection = ProxiedConnection(self, writer, server_writer)
        if self._is_over:
            connection.reset()
        connection.swallows_requests = connection.swallows_replies = self.is_silent
        self.connections.append(connection)
        try:
            await asyncio.gather(connection.forward_requests(reader), connection.forward_replies(server_reader))
        finally:
            self.connections.remove(connection)
            writer.close()
            server_writer.close()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if isinstance(self.upstream, Path):
            return await asyncio.open_unix_connection(self.upstream)
        return await asyncio.open_connection(*self.upstream)
