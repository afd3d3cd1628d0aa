"""One connection to a Redis server: bytes out, parsed replies in.

redis-py makes the connection (address, TLS, AUTH, database); from then on its socket is
ours, and replies are parsed by hiredis as they arrive.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import hiredis

from obscura.errors import StoreUnavailable
from obscura.redis_client.endpoints import Server

log = logging.getLogger(__name__)

REPLY_TIMEOUT_SECS = 1.5  # with the wait for a connection a request is refused within 2 s

Argument = str | bytes | int | float


class RedisTransport(asyncio.Protocol):
    """One authenticated connection to Redis: bytes out, parsed replies in.

    ``on_reply`` is called with each reply in order, ``on_lost`` once when the
    connection is gone, both from the event loop.
    """

    def __init__(self, on_reply: Callable[[Any], None], on_lost: Callable[[], None]) -> None:
        self._on_reply = on_reply
        self._on_lost = on_lost
        self._reader = hiredis.Reader()
        self._unsent: list[bytes] = []
        self._loop = asyncio.get_running_loop()
        self._writer: asyncio.StreamWriter | None = None
        self._transport: asyncio.Transport | None = None

    @classmethod
    async def open(
        cls, server: Server, on_reply: Callable[[Any], None], on_lost: Callable[[], None]
    ) -> "RedisTransport":
        """Connect and authenticate.

        Raises:
            StoreUnavailable: Nobody there, or not willing.
        """
        connection = await server.connect()
        if connection._writer.transport.is_closing() or connection._reader.at_eof():
            await connection.disconnect(nowait=True)
            raise StoreUnavailable("Redis hung up at once")  # which a link would never be told of
        link = cls(on_reply, on_lost)
        link._take_over(connection)
        return link

    def _take_over(self, connection: Any) -> None:
        # redis-py has read every reply it asked for, so its stream is empty. The writer is kept
        # because it closes its transport when it is collected.
        self._writer = connection._writer
        self._transport = connection._writer.transport
        connection._reader = connection._writer = None
        self._transport.set_protocol(self)

    @property
    def unsent_bytes(self) -> int:
        """What Redis has not taken yet of what was sent in earlier ticks."""
        return self._transport.get_write_buffer_size() if self._transport is not None else 0

    def send(self, *command: Argument) -> None:
        """Send one command. All that is sent in one tick of the loop leaves in one write."""
        if not self._unsent:
            self._loop.call_soon(self._flush)
        self._unsent.append(hiredis.pack_command(command))  # type: ignore[arg-type]  # the stub knows one argument

    def _flush(self) -> None:
        if self._transport is not None:
            self._transport.write(b"".join(self._unsent))
        self._unsent.clear()

    def close(self) -> None:
        """Drop the connection at once; ``on_lost`` follows."""
        if self._transport is not None:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        self._reader.feed(data)
        try:
            while (reply := self._reader.gets()) is not False:
                self._on_reply(reply)
        except hiredis.ProtocolError:
            log.exception("Redis sent something that is not its protocol")
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        self._on_lost()
