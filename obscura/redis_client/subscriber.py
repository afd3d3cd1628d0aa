"""The events of one server: a subscriber that knows whether it still hears them.

Delivery never depends on an event: a lost one costs latency, and after every gap the
node reads again what it may have missed. What must not happen is a gap that nobody
notices, as when the connection is up but dead. So the node sends itself a probe once
per period, through the command connection, and must hear it within another. If it does
not, it is cut off from its events ("deaf" in the log): `is_healthy` turns false, the
connection is dropped, all channels are subscribed again, and the gap is reported.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Iterable
from contextlib import suppress
from time import perf_counter
from typing import Any

from hiredis import ReplyError

from obscura.errors import StoreUnavailable
from obscura.observability.metrics.gateway import probe_heard
from obscura.redis_client.confirmations import Confirmations, WrongMaster, settle
from obscura.redis_client.endpoints import Endpoint
from obscura.redis_client.pubsub import CLASSIC, SHARDED, Callbacks, PubSubCommands
from obscura.redis_client.transport import REPLY_TIMEOUT_SECS, RedisTransport
from obscura.tasks import Backoff, end_tasks

log = logging.getLogger(__name__)

PROBE_PERIOD_SECS = 1.5
_CHANNELS_PER_STEP = 500
_CHANNELS_PER_SEC = 10_000  # a slow Redis subscribes that many


class Subscriber:
    """Subscriptions of this node at one server.

    Args:
        endpoint: Where to listen.
        call: Runs a command, such as the one that sends the probe.
        probe_channel: Names a channel of that server which nobody else uses.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        call: Callable[..., Awaitable[Any]],
        probe_channel: Callable[[], str],
        callbacks: Callbacks,
        commands: PubSubCommands = CLASSIC,
    ) -> None:
        self._endpoint = endpoint
        self._call = call
        self._name_probe_channel = probe_channel
        self._callbacks = callbacks
        self._commands = commands
        self._channels: set[str] = set()
        self._probe_channel = ""
        self._transport: RedisTransport | None = None
        self._lost = asyncio.Event()
        self._confirmations = Confirmations()
        self._probe_number = 0
        self._probe_heard: asyncio.Future[None] | None = None
        self._heard_at = perf_counter()
        self._task: asyncio.Task[None] | None = None
        self.is_healthy = False

    async def start(self, channels: Iterable[str] = ()) -> None:
        """Subscribe to ``channels`` and hear the first probe.

        Raises:
            StoreUnavailable: Redis cannot be reached, or the node cannot hear itself.
        """
        self._channels.update(channels)
        await self._open()
        await self._probe()
        self.is_healthy = True
        self._task = asyncio.create_task(self._supervise())

    def start_in_background(self) -> None:
        """Connect in the background, for as long as it takes, and report a gap once events are heard."""
        self._task = asyncio.create_task(self._supervise())

    async def stop(self) -> None:
        await end_tasks(self._task)
        self._endpoint.outages.on_success(self)
        await self._close()

    async def subscribe(self, channel: str) -> None:
        """Subscribe, and return once every later message of ``channel`` reaches ``on_event``.

        May be repeated, and cancelled. After an error, and after a cancellation, it is still the
        caller who unsubscribes: others may have subscribed to the same channel meanwhile.

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
        """Stop listening to ``channel``; messages on their way may still arrive. May be repeated."""
        self._channels.discard(channel)
        if self._transport is not None:
            self._confirmations.expect_end(channel)
            self._transport.send(self._commands.unsubscribe, channel)

    @property
    def secs_since_probe(self) -> float:
        """Since a probe was last heard."""
        return perf_counter() - self._heard_at

    @property
    def channels(self) -> Collection[str]:
        """Those subscribed to, or to be subscribed to as soon as there is a connection again."""
        return self._channels

    def _send_subscribe(self, channels: list[str]) -> asyncio.Future[None]:
        if self._transport is None:
            raise StoreUnavailable("the events connection is down")
        confirmed = self._confirmations.expect(*channels)
        step = self._commands.channels_per_command
        for first in range(0, len(channels), step):
            self._transport.send(self._commands.subscribe, *channels[first : first + step])
        return confirmed

    async def _open(self) -> None:
        self._lost.clear()
        transport = await self._endpoint.connect()
        transport.attach(self._on_reply, self._on_lost)
        self._transport = transport
        self._probe_channel = self._name_probe_channel()
        channels = sorted(self._channels)
        await self._subscribe_step([self._probe_channel])
        for first in range(0, len(channels), _CHANNELS_PER_STEP):
            # Those unsubscribed meanwhile are left out: nobody would unsubscribe from them again.
            wanted = [name for name in channels[first : first + _CHANNELS_PER_STEP] if name in self._channels]
            if wanted:
                with suppress(WrongMaster):  # `on_dropped` was told of each that is not
                    await self._subscribe_step(wanted)

    async def _subscribe_step(self, channels: list[str]) -> None:
        # Each step has the time of a reply: over a slow network several take longer than one.
        try:
            async with asyncio.timeout(REPLY_TIMEOUT_SECS + len(channels) / _CHANNELS_PER_SEC):
                await self._send_subscribe(channels)
        except TimeoutError as error:
            raise StoreUnavailable("no confirmation of the subscriptions") from error

    async def _close(self) -> None:
        if self._transport is not None:
            self._transport.close()
            await self._lost.wait()

    def _on_reply(self, reply: Any) -> None:
        if isinstance(reply, ReplyError):
            self._on_refusal(str(reply))
            return
        kind = reply[0]
        if kind == self._commands.message:
            self._on_message(reply[1].decode(), reply[2])
        elif kind == self._commands.subscribed:
            self._confirmations.on_subscribed(reply[1].decode())
        elif kind == self._commands.unsubscribed:
            channel = reply[1].decode()
            if not self._confirmations.on_unsubscribed(channel):
                self._on_dropped(channel)

    def _on_refusal(self, reason: str) -> None:
        if self._commands is not SHARDED or not reason.startswith(("MOVED", "CLUSTERDOWN")):
            log.error("Redis refuses a subscription", extra={"reason": reason})
            self._drop_connection()
            return
        if channel := self._confirmations.on_wrong_master(reason):
            self._on_dropped(channel)

    def _on_dropped(self, channel: str) -> None:
        if channel == self._probe_channel:
            self._callbacks.on_dropped(channel)
            self._drop_connection()  # with the next connection another one is chosen
        elif channel in self._channels:
            self._channels.discard(channel)
            self._callbacks.on_dropped(channel)

    def _drop_connection(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def _on_message(self, channel: str, payload: bytes) -> None:
        if channel != self._probe_channel:
            self._callbacks.on_event(channel, payload)
        elif payload == b"%d" % self._probe_number:
            settle(self._probe_heard)

    def _on_lost(self) -> None:
        self._transport = None
        self.is_healthy = False
        self._lost.set()
        lost = StoreUnavailable("the events connection broke")
        self._confirmations.fail_all(lost)
        settle(self._probe_heard, lost)

    async def _probe(self) -> None:
        self._probe_number += 1
        heard = self._probe_heard = asyncio.get_running_loop().create_future()
        started = perf_counter()
        try:
            async with asyncio.timeout(PROBE_PERIOD_SECS):
                await self._call(self._commands.publish, self._probe_channel, self._probe_number)
                await heard
            self._heard_at = probe_heard(started)
        except TimeoutError as error:
            raise StoreUnavailable("this node does not hear its own probe") from error
        except ReplyError as error:
            raise StoreUnavailable(f"Redis refuses the probe: {error}") from error
        finally:
            self._probe_heard = None

    async def _supervise(self) -> None:
        while True:
            if self.is_healthy:
                await self._probe_while_it_hears()
                self.is_healthy = False
            await self._reopen()
            self.is_healthy = True
            self._callbacks.on_gap(frozenset(self._channels))

    async def _probe_while_it_hears(self) -> None:
        while True:
            with suppress(TimeoutError):  # the pause between two probes ends early when the connection breaks
                async with asyncio.timeout(PROBE_PERIOD_SECS):
                    await self._lost.wait()
            if self._transport is None:
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
                self._endpoint.outages.on_failure(self, error)
            except Exception:
                log.exception("still deaf to events, for a reason of its own kind")
            else:
                self._endpoint.outages.on_success(self)
                log.warning("hearing events again")
                return
            await backoff.pause()
