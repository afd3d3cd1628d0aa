"""Connections to Redis: the raw link, and the supervised command connection of a process.

redis-py makes a connection (address, TLS, AUTH, database); from then on its socket is
ours: replies are parsed by hiredis as they arrive, and the commands of all requests
share one connection. Replies come in the order of the commands, so a command needs no
more than its place in a queue. Three things follow. Commands of one event-loop tick
leave in one write. A cancelled request leaves its place in the queue behind, so nobody
is ever given another's reply (redis-py#2665). And nothing is sent twice: a command whose
reply did not come raises `StoreUnavailable`, and its caller decides.
"""

import asyncio
import logging
import random
import re
from collections import deque
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

import hiredis
from redis.asyncio import ConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from obscura.errors import StoreUnavailable
from obscura.telemetry import REDIS_RECONNECTS, timed

log = logging.getLogger(__name__)

REPLY_TIMEOUT_SECS = 1.5  # with the wait for a connection a request is refused within 2 s
CONNECT_TIMEOUT_SECS = 1.0
CLIENT_NAME = "obscura"  # in CLIENT LIST; a node appends its id
_WAIT_FOR_CONNECTION_SECS = 0.4
_MAX_IN_FLIGHT = 20_000
_MAX_UNSENT_BYTES = 64 * 2**20
_BACKOFF_FIRST_SECS = 0.05
_BACKOFF_MAX_SECS = 1.0

# Replies that mean "not now" rather than "wrong command". Before 7, Redis puts what a command of a
# script was refused with behind a preamble of its own. A right that our user of Redis lacks is one of
# them: an operator will give it, and no request was at fault.
_PASSING_ERROR = re.compile(
    r"(ERR Error running script .* -)?"
    r"(OOM|LOADING|READONLY|MASTERDOWN|BUSY|NOREPLICAS|MISCONF|CLUSTERDOWN|NOPERM|NOAUTH)\b"
    r"|.*The user executing the script can't"
)

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
    async def open(cls, pool: ConnectionPool, on_reply: Callable[[Any], None], on_lost: Callable[[], None]) -> "Link":
        """Connect and authenticate.

        Raises:
            StoreUnavailable: Nobody there, or not willing.
        """
        connection = pool.make_connection()  # type: ignore[no-untyped-call]
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_SECS):
                await connection.connect()
            if connection._writer.transport.is_closing():
                raise ConnectionResetError("closed at once")  # and nobody would tell us any more
        except (RedisError, OSError, TimeoutError) as error:
            await connection.disconnect(nowait=True)
            raise StoreUnavailable(f"cannot connect to Redis: {error}") from error
        except asyncio.CancelledError:
            await connection.disconnect(nowait=True)
            raise
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


def make_pool(url: str, client_name: str = CLIENT_NAME) -> ConnectionPool:
    """A maker of connections to ``url``, named so in CLIENT LIST, that never repeats a command by itself."""
    return ConnectionPool.from_url(
        url,
        protocol=2,
        retry=Retry(NoBackoff(), 0),
        socket_connect_timeout=CONNECT_TIMEOUT_SECS,
        socket_timeout=REPLY_TIMEOUT_SECS,
        driver_info=None,
        client_name=client_name,
    )


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


class Connection:
    """The command connection of this process, shared by everything that speaks to Redis.

    Reconnects by itself. While Redis is away every call fails with `StoreUnavailable`
    within `REPLY_TIMEOUT_SECS` plus a short wait for a reconnect that is under way.
    """

    def __init__(self, pool: ConnectionPool) -> None:
        self._pool = pool
        self._link: Link | None = None
        self._pending: deque[tuple[asyncio.Future[Any], float]] = deque()
        self._connected = asyncio.Event()
        self._lost = asyncio.Event()
        self._waiting_is_useful = True
        self._tasks: list[asyncio.Task[None]] = []
        self._loop = asyncio.get_running_loop()

    async def start(self) -> None:
        """Connect for the first time.

        Raises:
            StoreUnavailable: Redis cannot be reached.
        """
        await self._connect()
        self._tasks = [asyncio.create_task(self._supervise()), asyncio.create_task(self._watch())]

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._link is not None:
            self._link.close()
            await self._lost.wait()

    @property
    def connected(self) -> bool:
        return self._link is not None

    def call(self, *command: Argument) -> Coroutine[Any, Any, Any]:
        """Run one command and return its reply. Never repeated.

        Raises:
            StoreUnavailable: No connection, no reply in time, or Redis refuses for now.
            hiredis.ReplyError: Redis refuses the command as such.
        """
        running = self._call(command)
        # A script is timed by its name, where that is known.
        return running if command[0] in {"EVALSHA", "EVAL"} else timed(str(command[0]), running)

    async def _call(self, command: tuple[Argument, ...]) -> Any:
        if self._link is None:
            await self._wait_for_connection()
        return await self._submit(command)

    def _submit(self, command: tuple[Argument, ...]) -> asyncio.Future[Any]:
        if self._link is None:
            raise StoreUnavailable("no connection to Redis")
        if len(self._pending) >= _MAX_IN_FLIGHT or self._link.unsent_bytes > _MAX_UNSENT_BYTES:
            raise StoreUnavailable("Redis does not keep up")  # not sent
        reply: asyncio.Future[Any] = self._loop.create_future()
        self._pending.append((reply, self._loop.time()))
        self._link.send(*command)
        return reply

    async def _wait_for_connection(self) -> None:
        if self._waiting_is_useful:
            with suppress(TimeoutError):  # _submit refuses if there is still none
                async with asyncio.timeout(_WAIT_FOR_CONNECTION_SECS):
                    await self._connected.wait()

    async def _connect(self) -> None:
        self._lost.clear()
        self._link = await Link.open(self._pool, self._on_reply, self._on_lost)
        self._waiting_is_useful = True
        self._connected.set()

    def _on_reply(self, reply: Any) -> None:
        waiter, _ = self._pending.popleft()
        if waiter.done():
            return  # cancelled meanwhile; the reply was its alone
        if not isinstance(reply, hiredis.ReplyError):
            waiter.set_result(reply)
        elif _PASSING_ERROR.match(str(reply)):
            waiter.set_exception(StoreUnavailable(f"Redis refuses: {reply}"))
        else:
            waiter.set_exception(reply)

    def _on_lost(self) -> None:
        self._link = None
        self._connected.clear()
        self._lost.set()
        while self._pending:
            waiter, _ = self._pending.popleft()
            if not waiter.done():
                waiter.set_exception(StoreUnavailable("the connection to Redis broke before the reply"))
                waiter.exception()  # its caller may be cancelled before it sees this

    async def _supervise(self) -> None:
        backoff = Backoff()
        while True:
            await self._lost.wait()
            log.warning("connection to Redis lost")
            backoff.reset()
            while self._link is None:
                await backoff.pause()
                try:
                    await self._connect()
                except StoreUnavailable as error:
                    self._waiting_is_useful = False
                    log.debug("still no connection to Redis: %s", error)
            REDIS_RECONNECTS.inc()
            log.warning("connected to Redis again")

    async def _watch(self) -> None:
        # One look at the oldest command serves all of them; a timer each would cost more than the command.
        while True:
            await asyncio.sleep(REPLY_TIMEOUT_SECS / 10)
            if self._pending and self._loop.time() - self._pending[0][1] > REPLY_TIMEOUT_SECS * 0.9 and self._link:
                log.warning("Redis does not reply")
                self._link.close()
