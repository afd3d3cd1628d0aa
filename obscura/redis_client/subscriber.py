"""Hearing the events of one server: a subscriber that knows whether it can still hear.

Delivery never depends on an event: a lost one costs latency, and after every gap the
node reads again what it may have missed. What must not happen is a gap that nobody
notices, as when the connection is up but dead. So the node sends itself a probe once
per period, through the command connection, and must hear it within another; else it is
deaf, says so (`healthy`), drops the connection, subscribes anew and reports the gap.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Iterable
from contextlib import suppress
from time import perf_counter
from typing import Any, NamedTuple

from hiredis import ReplyError

from obscura.errors import StoreUnavailable
from obscura.observability.metrics.gateway import probe_heard
from obscura.redis_client.endpoints import Server
from obscura.redis_client.pubsub import CLASSIC, SHARDED, Callbacks, Verbs, concerns
from obscura.redis_client.transport import REPLY_TIMEOUT_SECS, RedisTransport
from obscura.tasks import Backoff, end_tasks

log = logging.getLogger(__name__)

PROBE_PERIOD_SECS = 1.5
_CHANNELS_PER_STEP = 500
_CHANNELS_PER_SEC = 10_000  # a slow Redis subscribes that many


class _Expected(NamedTuple):
    """A reply that is due; nobody waits for that to an UNSUBSCRIBE."""

    channel: str
    waiter: asyncio.Future[None] | None


def _settle(waiter: asyncio.Future[None] | None, error: StoreUnavailable | None = None) -> None:
    if waiter is None or waiter.done():
        return
    if error is None:
        waiter.set_result(None)
    else:
        waiter.set_exception(error)
        waiter.exception()  # of the waiters of one step only the last is awaited


class _NotHere(StoreUnavailable):
    """The channel is another server's, or nobody's for now."""


class Subscriber:
    """Subscriptions of this node at one server.

    Args:
        server: Where to listen.
        call: Runs a command, such as the one that sends the probe.
        probe_channel: Names a channel of that server which nobody else uses.
    """

    def __init__(
        self,
        server: Server,
        call: Callable[..., Awaitable[Any]],
        probe_channel: Callable[[], str],
        callbacks: Callbacks,
        verbs: Verbs = CLASSIC,
    ) -> None:
        self._server = server
        self._call = call
        self._choose_probe_channel = probe_channel
        self._callbacks = callbacks
        self._verbs = verbs
        self._channels: set[str] = set()
        self._probe_channel = ""
        self._link: RedisTransport | None = None
        self._lost = asyncio.Event()
        self._expected: deque[_Expected] = deque()  # replies, in the order of the commands
        self._probe_number = 0
        self._probe_heard: asyncio.Future[None] | None = None
        self._heard_at = perf_counter()
        self._task: asyncio.Task[None] | None = None
        self.healthy = False

    async def start(self, channels: Iterable[str] = ()) -> None:
        """Subscribe to ``channels`` and hear the first probe.

        Raises:
            StoreUnavailable: Redis cannot be reached, or the node cannot hear itself.
        """
        self._channels.update(channels)
        await self._open()
        await self._probe()
        self.healthy = True
        self._task = asyncio.create_task(self._supervise())

    def start_listening(self) -> None:
        """Begin in the background, deaf at first, and report a gap once it hears."""
        self._task = asyncio.create_task(self._supervise())

    async def stop(self) -> None:
        await end_tasks(self._task)
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
            self._expected.append(_Expected(channel, None))
            self._link.send(self._verbs.unsubscribe, channel)

    @property
    def secs_since_probe(self) -> float:
        """Since a probe was last heard."""
        return perf_counter() - self._heard_at

    @property
    def channels(self) -> Collection[str]:
        """What is listened to, or will be as soon as it hears again."""
        return self._channels

    def _send_subscribe(self, channels: list[str]) -> asyncio.Future[None]:
        # Redis confirms each channel in order, so the last confirmation stands for all.
        if self._link is None:
            raise StoreUnavailable("the events connection is down")
        loop = asyncio.get_running_loop()
        waiters: list[asyncio.Future[None]] = [loop.create_future() for _ in channels]
        self._expected.extend(map(_Expected, channels, waiters))
        step = self._verbs.channels_per_command
        for first in range(0, len(channels), step):
            self._link.send(self._verbs.subscribe, *channels[first : first + step])
        return waiters[-1]

    async def _open(self) -> None:
        self._lost.clear()
        self._link = await RedisTransport.open(self._server, self._on_reply, self._on_lost)
        self._probe_channel = self._choose_probe_channel()
        channels = sorted(self._channels)
        try:
            async with asyncio.timeout(REPLY_TIMEOUT_SECS + len(channels) / _CHANNELS_PER_SEC):
                await self._send_subscribe([self._probe_channel])
                for first in range(0, len(channels), _CHANNELS_PER_STEP):
                    # Less those whose last socket left meanwhile: they would stay subscribed for ever.
                    wanted = [name for name in channels[first : first + _CHANNELS_PER_STEP] if name in self._channels]
                    if wanted:
                        with suppress(_NotHere):  # `on_dropped` was told of each that is not
                            await self._send_subscribe(wanted)
        except TimeoutError as error:
            raise StoreUnavailable("no confirmation of the subscriptions") from error

    async def _close(self) -> None:
        if self._link is not None:
            self._link.close()
            await self._lost.wait()

    def _on_reply(self, reply: Any) -> None:
        if isinstance(reply, ReplyError):
            self._on_refusal(str(reply))
            return
        kind = reply[0]
        if kind == self._verbs.message:
            self._on_message(reply[1].decode(), reply[2])
        elif kind == self._verbs.subscribed:
            self._on_subscribed(reply[1].decode())
        elif kind == self._verbs.unsubscribed:
            self._on_unsubscribed(reply[1].decode())

    def _on_subscribed(self, channel: str) -> None:
        while self._expected:
            expected = self._expected.popleft()
            if expected.waiter is not None and expected.channel == channel:
                _settle(expected.waiter)
                return
            # Its answer was taken for another's, as may happen when a slot goes while an UNSUBSCRIBE is on its way.
            _settle(expected.waiter, StoreUnavailable("no confirmation of the subscription"))

    def _on_unsubscribed(self, channel: str) -> None:
        if self._expected and self._expected[0] == _Expected(channel, None):
            self._expected.popleft()
        else:
            self._on_given_away(channel)

    def _on_refusal(self, reason: str) -> None:
        if self._verbs is not SHARDED or not reason.startswith(("MOVED", "CLUSTERDOWN")):
            log.error("Redis refuses a subscription", extra={"reason": reason})
            self._drop_link()
            return
        if not self._expected or not concerns(reason, self._expected[0].channel):
            return  # to an UNSUBSCRIBE of what the server had given away already, which was taken for the answer
        channel, waiter = self._expected.popleft()
        if waiter is not None:
            _settle(waiter, _NotHere("the channel is another server's by now"))
            self._on_given_away(channel)

    def _on_given_away(self, channel: str) -> None:
        if channel == self._probe_channel:
            self._callbacks.on_dropped(channel)
            self._drop_link()  # with the next connection another one is chosen
        elif channel in self._channels:
            self._channels.discard(channel)
            self._callbacks.on_dropped(channel)

    def _drop_link(self) -> None:
        if self._link is not None:
            self._link.close()

    def _on_message(self, channel: str, payload: bytes) -> None:
        if channel != self._probe_channel:
            self._callbacks.on_event(channel, payload)
        elif payload == b"%d" % self._probe_number:
            _settle(self._probe_heard)

    def _on_lost(self) -> None:
        self._link = None
        self.healthy = False
        self._lost.set()
        lost = StoreUnavailable("the events connection broke")
        for _, waiter in self._expected:
            _settle(waiter, lost)
        self._expected.clear()
        _settle(self._probe_heard, lost)

    async def _probe(self) -> None:
        self._probe_number += 1
        heard = self._probe_heard = asyncio.get_running_loop().create_future()
        started = perf_counter()
        try:
            async with asyncio.timeout(PROBE_PERIOD_SECS):
                await self._call(self._verbs.publish, self._probe_channel, self._probe_number)
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
            if self.healthy:
                await self._probe_until_deaf()
                self.healthy = False
            await self._reopen()
            self.healthy = True
            self._callbacks.on_gap(frozenset(self._channels))

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
            except Exception:
                log.exception("still deaf to events, for a reason of its own kind")
            else:
                log.warning("hearing events again")
                return
            await backoff.pause()
