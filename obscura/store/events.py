"""The events connection: one subscriber per node that knows whether it can still hear.

Delivery never depends on an event: a lost one costs latency, and after every gap the
node reads again what it may have missed. What must not happen is a gap that nobody
notices, as when the connection is up but dead. So the node sends itself a probe once
per period, through the command connection, and must hear it within another; else it is
deaf, says so (`healthy`), drops the connection, subscribes anew and reports `resumed`.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from time import perf_counter
from typing import Any

from hiredis import ReplyError
from redis.asyncio import ConnectionPool

from obscura.errors import StoreUnavailable
from obscura.store import keyspace
from obscura.store.connection import REPLY_TIMEOUT_SECS, Backoff, Connection, Link
from obscura.telemetry import probe_heard

log = logging.getLogger(__name__)

PROBE_PERIOD_SECS = 1.5
_CHANNELS_PER_COMMAND = 500
_CHANNELS_PER_SEC = 10_000  # a slow Redis subscribes that many


class Events:
    """Subscriptions of this node.

    Callbacks, both called from the event loop and neither may block: ``on_event(channel,
    payload)`` for every message of a subscribed channel, in the order Redis published
    them per channel; ``on_resumed()`` after a gap, when all channels are subscribed again.
    """

    def __init__(
        self,
        pool: ConnectionPool,
        commands: Connection,
        node_id: str,
        on_event: Callable[[str, bytes], None],
        on_resumed: Callable[[], None],
    ) -> None:
        self._pool = pool
        self._commands = commands
        self._on_event = on_event
        self._on_resumed = on_resumed
        self._probe_channel = keyspace.probe(node_id)
        self._channels = {self._probe_channel}
        self._link: Link | None = None
        self._lost = asyncio.Event()
        self._confirmations: deque[asyncio.Future[None]] = deque()
        self._probe_number = 0
        self._probe_heard: asyncio.Future[None] | None = None
        self._task: asyncio.Task[None] | None = None
        self.healthy = False

    async def start(self, channels: set[str]) -> None:
        """Subscribe to ``channels`` and hear the first probe.

        Raises:
            StoreUnavailable: Redis cannot be reached, or the node cannot hear itself.
        """
        self._channels |= channels
        await self._open()
        await self._probe()
        self.healthy = True
        self._task = asyncio.create_task(self._supervise())

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._close()

    async def subscribe(self, channel: str) -> None:
        """Returns once every later message of ``channel`` reaches ``on_event``.

        Subscribing twice is fine. After an error, too, it is the caller's to unsubscribe:
        others may have subscribed to the same channel meanwhile.

        Raises:
            StoreUnavailable: The node is cut off from its events.
        """
        self._channels.add(channel)
        try:
            async with asyncio.timeout(REPLY_TIMEOUT_SECS):
                await self._send_subscribe([channel])
        except TimeoutError as error:
            raise StoreUnavailable("no confirmation of the subscription") from error

    def unsubscribe(self, channel: str) -> None:
        """Stop listening to ``channel``; messages on their way may still arrive."""
        self._channels.discard(channel)
        if self._link is not None:
            self._link.send("UNSUBSCRIBE", channel)

    def _send_subscribe(self, channels: list[str]) -> asyncio.Future[None]:
        # Redis confirms each channel in order, so the last confirmation stands for all.
        if self._link is None:
            raise StoreUnavailable("the events connection is down")
        loop = asyncio.get_running_loop()
        waiters: list[asyncio.Future[None]] = [loop.create_future() for _ in channels]
        self._confirmations.extend(waiters)
        self._link.send("SUBSCRIBE", *channels)
        return waiters[-1]

    async def _open(self) -> None:
        self._lost.clear()
        self._link = await Link.open(self._pool, self._on_reply, self._on_lost)
        channels = sorted(self._channels)
        try:
            async with asyncio.timeout(REPLY_TIMEOUT_SECS + len(channels) / _CHANNELS_PER_SEC):
                for first in range(0, len(channels), _CHANNELS_PER_COMMAND):
                    # Less those whose last socket left meanwhile: they would stay subscribed for ever.
                    wanted = [
                        name for name in channels[first : first + _CHANNELS_PER_COMMAND] if name in self._channels
                    ]
                    if wanted:
                        await self._send_subscribe(wanted)
        except TimeoutError as error:
            raise StoreUnavailable("no confirmation of the subscriptions") from error

    async def _close(self) -> None:
        if self._link is not None:
            self._link.close()
            await self._lost.wait()

    def _on_reply(self, reply: Any) -> None:
        if isinstance(reply, ReplyError):
            log.error("Redis refuses a subscription", extra={"reason": str(reply)})
            if self._link is not None:
                self._link.close()
            return
        kind = reply[0]
        if kind == b"message":
            self._on_message(reply[1].decode(), reply[2])
        elif kind == b"subscribe":
            waiter = self._confirmations.popleft()
            if not waiter.done():
                waiter.set_result(None)

    def _on_message(self, channel: str, payload: bytes) -> None:
        if channel != self._probe_channel:
            self._on_event(channel, payload)
        elif payload == b"%d" % self._probe_number and self._probe_heard is not None and not self._probe_heard.done():
            self._probe_heard.set_result(None)

    def _on_lost(self) -> None:
        self._link = None
        self.healthy = False
        self._lost.set()
        waiters = [*self._confirmations, *([self._probe_heard] if self._probe_heard else [])]
        self._confirmations.clear()
        for waiter in waiters:
            if not waiter.done():
                waiter.set_exception(StoreUnavailable("the events connection broke"))
                waiter.exception()  # only the last waiter of a command is awaited

    async def _probe(self) -> None:
        self._probe_number += 1
        heard = self._probe_heard = asyncio.get_running_loop().create_future()
        started = perf_counter()
        try:
            async with asyncio.timeout(PROBE_PERIOD_SECS):
                await self._commands.call("PUBLISH", self._probe_channel, self._probe_number)
                await heard
            probe_heard(started)
        except TimeoutError as error:
            raise StoreUnavailable("this node does not hear its own probe") from error
        finally:
            self._probe_heard = None

    async def _supervise(self) -> None:
        while True:
            await self._probe_until_deaf()
            self.healthy = False
            await self._reopen()
            self.healthy = True
            self._on_resumed()

    async def _probe_until_deaf(self) -> None:
        while True:
            with suppress(TimeoutError):  # the pause between two probes ends early when the link breaks
                async with asyncio.timeout(PROBE_PERIOD_SECS):
                    await self._lost.wait()
            if self._link is None:
                log.warning("events connection lost")
                return
            try:
                await self._probe()
            except StoreUnavailable as error:
                log.warning("deaf to events", extra={"reason": str(error)})
                return

    async def _reopen(self) -> None:
        backoff = Backoff()
        while True:
            await self._close()
            try:
                await self._open()
                await self._probe()
            except StoreUnavailable as error:
                log.debug("still deaf to events", extra={"reason": str(error)})
                await backoff.pause()
            else:
                log.warning("hearing events again")
                return
