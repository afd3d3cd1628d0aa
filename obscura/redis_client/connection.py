"""The command connection to one Redis server, supervised and shared by all requests of a process.

Replies come in the order of the commands, so all that a command needs is a place in a
queue. Three things follow. Commands of one event-loop tick leave in one write. A
cancelled request leaves its place in the queue behind, so nobody is ever given another's
reply (as happened in redis-py, its issue 2665). And nothing is sent twice: a command whose
reply did not come raises `StoreUnavailable`, and its caller decides.
"""

import asyncio
import logging
import re
from collections import deque
from collections.abc import Awaitable, Collection
from contextlib import suppress
from typing import Any

import hiredis

from obscura.errors import RedisRefusal, StoreUnavailable, UnfitRedis
from obscura.observability.metrics.redis import REDIS_RECONNECTS, REDIS_REFUSALS, timed
from obscura.redis_client.endpoints import Endpoint
from obscura.redis_client.handshake import closed_on_failure
from obscura.redis_client.transport import REPLY_TIMEOUT_SECS, Argument, RedisTransport
from obscura.redis_client.vetting import Vetting
from obscura.tasks import Backoff, end_tasks

log = logging.getLogger(__name__)

_WAIT_FOR_CONNECTION_SECS = 0.4
_MAX_IN_FLIGHT = 20_000
_MAX_UNSENT_BYTES = 64 * 2**20

# Errors that mean "not now" rather than "wrong command". Before Redis 7, the error of a command inside a script
# comes behind a preamble. A right that our Redis user lacks (NOPERM) counts as one of them: no request was at
# fault, and an operator will grant it.
_TEMPORARY_ERROR = re.compile(
    r"(ERR Error running script .* -)?"
    r"(OOM|LOADING|READONLY|MASTERDOWN|BUSY|NOREPLICAS|MISCONF|CLUSTERDOWN|NOPERM|NOAUTH)\b"
    r"|.*The user executing the script can't"
)
_NOT_THE_MASTER = frozenset({"READONLY", "MASTERDOWN"})


class CommandConnection:
    """The command connection of this process, shared by everything that speaks to Redis.

    Reconnects by itself. While Redis is away every call fails with `StoreUnavailable`
    within `REPLY_TIMEOUT_SECS` plus a short wait for a reconnect that is under way.

    Args:
        vetting: Says whether the server may be used; None: any may.

    Attributes:
        trouble: Why there is no connection, as far as that is known.
    """

    def __init__(self, endpoint: Endpoint, vetting: Vetting | None = None) -> None:
        self._endpoint = endpoint
        self._vetting = vetting
        if vetting is not None:
            vetting.on_unfit.append(self._drop)
        self.trouble: StoreUnavailable | None = None
        self._transport: RedisTransport | None = None
        self._pending: deque[tuple[asyncio.Future[Any], float]] = deque()
        self._connected = asyncio.Event()
        self._lost = asyncio.Event()
        self._is_wait_useful = True
        self._tasks: list[asyncio.Task[None]] = []
        self._loop = asyncio.get_running_loop()

    async def start(self) -> None:
        """Connect for the first time.

        Raises:
            StoreUnavailable: Redis cannot be reached.
        """
        await self._connect()
        self.start_in_background()

    def start_in_background(self) -> None:
        """Connect in the background, for as long as it takes."""
        self._tasks = [asyncio.create_task(self._supervise()), asyncio.create_task(self._drop_if_silent())]

    async def stop(self) -> None:
        """Close the connection; calls under way and later ones raise `StoreUnavailable`."""
        await end_tasks(*self._tasks)
        self._endpoint.outages.on_success(self)
        if self._transport is not None:
            self._transport.close()
            await self._lost.wait()

    @property
    def is_connected(self) -> bool:
        return self._transport is not None

    @property
    def unmet(self) -> Collection[str]:
        """The requirements that the server did not meet when it was last looked at."""
        return self._vetting.unmet if self._vetting is not None else ()

    async def look(self) -> None:
        """Look whether the server still does, and close the connection to one that does not.

        Raises:
            UnfitRedis: It does not, or did not when a connection was last tried.
            StoreUnavailable: No connection, or no reply in time.
        """
        if self._transport is None and isinstance(self.trouble, UnfitRedis):
            raise UnfitRedis(str(self.trouble))
        if self._vetting is not None:
            asked = [self.send(*question) for question in self._vetting.questions]
            self._vetting.judge(await asyncio.gather(*asked, return_exceptions=True))

    def call(self, *command: Argument, asking: bool = False) -> Awaitable[Any]:
        """Run one command and return its reply. Never sent twice; cancelled, it may have run all the same.

        Args:
            asking: Its slot is on its way to this server (ASK of a Cluster).

        Raises:
            StoreUnavailable: No connection, no reply in time, or Redis refuses for now.
            hiredis.ReplyError: Redis refuses the command as such.
        """
        if command[0] not in {"EVALSHA", "EVAL"}:
            return timed(str(command[0]), self._call(command, asking))
        # A script is timed by its name, where that is known.
        return self._call(command, asking) if asking or self._transport is None else self.send(*command)

    async def _call(self, command: tuple[Argument, ...], asking: bool) -> Any:
        if self._transport is None:
            await self.wait_for_connection()
        if asking:
            self.send("ASKING")
        return await self.send(*command)

    def send(self, *command: Argument) -> asyncio.Future[Any]:
        """Send one command at once; the future has its reply, or what `call` raises. It may be cancelled.

        Commands sent one after the other reach the server in that order with none in between.

        Raises:
            StoreUnavailable: Not sent: no connection, or too much under way.
        """
        if self._transport is None:
            raise StoreUnavailable(str(self.trouble or "no connection to Redis"))
        if len(self._pending) >= _MAX_IN_FLIGHT or self._transport.unsent_bytes > _MAX_UNSENT_BYTES:
            raise StoreUnavailable("Redis does not keep up")
        reply: asyncio.Future[Any] = self._loop.create_future()
        self._pending.append((reply, self._loop.time()))
        self._transport.send(*command)
        return reply

    async def wait_for_connection(self) -> None:
        """Wait a moment for a connection that is about to be made; returns either way."""
        if self._is_wait_useful:
            with suppress(TimeoutError):
                async with asyncio.timeout(_WAIT_FOR_CONNECTION_SECS):
                    await self._connected.wait()

    async def _connect(self) -> None:
        self._lost.clear()
        try:
            transport = await self._endpoint.connect()
            if self._vetting is not None:
                async with closed_on_failure(transport, REPLY_TIMEOUT_SECS):
                    self._vetting.judge(await transport.ask_all(self._vetting.questions))
            transport.attach(self._on_reply, self._on_lost)
        except StoreUnavailable as error:
            self.trouble = error
            raise
        self._transport = transport
        self.trouble = None
        self._endpoint.outages.on_success(self)
        self._is_wait_useful = True
        self._connected.set()

    def _drop(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def _on_reply(self, reply: Any) -> None:
        waiter, _ = self._pending.popleft()
        if waiter.done():
            return  # cancelled meanwhile: nobody else is waiting for this reply
        if not isinstance(reply, hiredis.ReplyError):
            waiter.set_result(reply)
        elif refusal := _TEMPORARY_ERROR.match(str(reply)):
            code = refusal[2] or "NOPERM"
            REDIS_REFUSALS.labels(code).inc()
            waiter.set_exception(RedisRefusal(f"Redis refuses: {reply}", code))
            if code in _NOT_THE_MASTER:
                self._drop()  # it was demoted: the next connection goes to who is master now
        else:
            waiter.set_exception(reply)

    def _on_lost(self) -> None:
        self._transport = None
        self._connected.clear()
        self._lost.set()
        while self._pending:
            waiter, _ = self._pending.popleft()
            if not waiter.done():
                waiter.set_exception(StoreUnavailable("the connection to Redis broke before the reply"))
                waiter.exception()  # its caller may be cancelled before it sees this

    async def _supervise(self) -> None:
        while True:
            if self._transport is None:
                await self._reconnect()
            await self._lost.wait()
            log.warning("connection to Redis lost")

    async def _reconnect(self) -> None:
        backoff = Backoff()
        while True:
            await backoff.pause()
            try:
                await self._connect()
            except StoreUnavailable as error:
                self._is_wait_useful = False
                self._endpoint.outages.on_failure(self, error)
            except Exception:
                self._is_wait_useful = False
                log.exception("no connection to Redis, for a reason of its own kind")
            else:
                REDIS_RECONNECTS.inc()
                log.warning("connected to Redis again")
                return

    async def _drop_if_silent(self) -> None:
        # One look at the oldest command serves all of them; a timer each would cost more than the command.
        while True:
            await asyncio.sleep(REPLY_TIMEOUT_SECS / 10)
            if self._pending and self._loop.time() - self._pending[0][1] > REPLY_TIMEOUT_SECS * 0.9 and self._transport:
                log.warning("Redis does not reply")
                self._drop()
