"""One connection to a Redis server: bytes out, replies in, parsed by hiredis as they arrive."""

import asyncio
import logging
from collections.abc import Callable, Iterable
from typing import Any, cast

import hiredis

from obscura.errors import StoreUnavailable

log = logging.getLogger(__name__)

REPLY_TIMEOUT_SECS = 1.5  # with the wait for a connection a request is refused within 2 s

Argument = str | bytes | int | float


class RedisTransport(asyncio.Protocol):
    """One connection, which has two lives.

    At first it belongs to whoever opens it, who has commands answered one at a time with
    `ask`. After `attach` its user sends commands without waiting, and is called with each
    reply in order and once when the connection is gone.

    Args:
        where: What errors call the server.
    """

    def __init__(self, where: str) -> None:
        self.where = where
        self._answers: asyncio.Queue[Any] = asyncio.Queue()  # replies to the opener; an error ends them
        self._on_reply: Callable[[Any], None] = self._answers.put_nowait
        self._on_lost: Callable[[], None] | None = None
        self._reader = hiredis.Reader()
        self._unsent: list[bytes] = []
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None

    async def ask(self, *command: Argument) -> Any:
        """Have one command answered, before `attach`. One that failed or was cancelled leaves nothing to go on with.

        Raises:
            OSError: The connection is gone.
            hiredis.ReplyError: Redis refuses the command.
            hiredis.ProtocolError: That is no Redis.
        """
        self.send(*command)
        answer = await self._answers.get()
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def ask_all(self, commands: Iterable[tuple[Argument, ...]]) -> list[Any]:
        """As `ask`, in one round trip; a refusal stands in the place of its reply.

        Raises:
            OSError: The connection is gone.
            hiredis.ProtocolError: That is no Redis.
        """
        count = 0
        for command in commands:
            self.send(*command)
            count += 1
        answers: list[Any] = []
        while len(answers) < count:
            answer = await self._answers.get()
            if isinstance(answer, Exception) and not isinstance(answer, hiredis.ReplyError):
                raise answer  # the last one there will be
            answers.append(answer)
        return answers

    def attach(self, on_reply: Callable[[Any], None], on_lost: Callable[[], None]) -> None:
        """Hand the connection to its user, who is called from the event loop from now on.

        Raises:
            StoreUnavailable: It is gone already; ``on_lost`` will not be called.
        """
        if self.is_closing:
            raise StoreUnavailable("Redis hung up at once")
        self._on_reply = on_reply
        self._on_lost = on_lost

    @property
    def is_closing(self) -> bool:
        """Whether the connection is gone or about to be."""
        return self._transport is None or self._transport.is_closing()

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
        """Drop the connection at once; ``on_lost`` follows. May be repeated."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are none by class

    def data_received(self, data: bytes) -> None:
        self._reader.feed(data)
        try:
            while (reply := self._reader.gets()) is not False:
                self._on_reply(reply)
        except hiredis.ProtocolError as error:
            if self._on_lost is None:
                self._answers.put_nowait(error)
            else:
                log.exception("Redis sent something that is not its protocol")
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self._on_lost is not None:
            self._on_lost()
        elif exc is None:
            self._answers.put_nowait(ConnectionError("Connection closed by server."))
        else:
            self._answers.put_nowait(ConnectionError(f"Error while reading from {self.where} : {exc.args}"))
