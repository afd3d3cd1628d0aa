"""One connection to a Redis server: bytes out, parsed replies in.

redis-py makes the connection (address, TLS, AUTH, database); from then on its socket is
ours, and replies are parsed by hiredis as they arrive.
"""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import hiredis

from obscura.errors import StoreUnavailable
from obscura.redis_client.endpoints import Server

log = logging.getLogger(__name__)

REPLY_TIMEOUT_SECS = 1.5  # with the wait for a connection a request is refused within 2 s
_BACKOFF_FIRST_SECS = 0.05
_BACKOFF_MAX_SECS = 1.0
_CANCEL_AGAIN_SECS = 0.1

Argument = str | bytes | int | float


class Link(asyncio.Protocol):
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
    async def open(cls, server: Server, on_reply: Callable[[Any], None], on_lost: Callable[[], None]) -> "Link":
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


async def all_of(awaitables: Iterable[Awaitable[Any]]) -> None:
    """Await all to their end, and only then raise what one of them raised: nothing goes on behind the caller's back."""
    outcomes = await asyncio.gather(*awaitables, return_exceptions=True)
    for outcome in outcomes:
        if isinstance(outcome, BaseException):
            raise outcome


async def end_tasks(*tasks: asyncio.Task[Any] | None) -> None:
    """Cancel tasks, and return when all have ended."""
    running = {task for task in tasks if task is not None and not task.done()}
    while running:
        for task in running:
            task.cancel()
        # redis-py sends with asyncio.wait_for, which before Python 3.12 loses a cancellation that comes
        # at the moment when it is done (python/cpython#86296). So there may have to be another.
        _, running = await asyncio.wait(running, timeout=_CANCEL_AGAIN_SECS)


class Backoff:
    """Growing pauses between attempts, jittered so that nodes do not come in step."""

    def __init__(self, max_secs: float = _BACKOFF_MAX_SECS) -> None:
        self._max_secs = max_secs
        self.reset()

    def reset(self) -> None:
        self._next_secs = _BACKOFF_FIRST_SECS

    async def pause(self) -> None:
        await asyncio.sleep(self._next_secs * random.uniform(0.5, 1.0))  # noqa: S311  not a secret
        self._next_secs = min(self._next_secs * 2, self._max_secs)
