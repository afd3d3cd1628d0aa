"""The events of a Cluster: one subscriber for each master, and every channel at the master that owns it.

A channel is wanted from its `subscribe` on. Whenever a master drops a channel or slots may
have changed their owner, the channels are compared with the slot map: each that is not
subscribed at its owner is misplaced, and is subscribed there and reported as a gap. So a
moved slot, a promoted replica and a new master are all the same case.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Collection
from contextlib import suppress

from obscura.errors import StoreUnavailable
from obscura.redis_client.addresses import Address
from obscura.redis_client.cluster import Cluster
from obscura.redis_client.pubsub import SHARDED, Callbacks, ProbeChannel
from obscura.redis_client.slot_map import SLOTS
from obscura.redis_client.subscriber import PROBE_PERIOD_SECS, Subscriber
from obscura.redis_client.transport import REPLY_TIMEOUT_SECS
from obscura.tasks import end_tasks, gather_all

log = logging.getLogger(__name__)

_CHECK_PERIOD_SECS = 1.0
_RETRY_SECS = 0.1
_CHANNELS_AT_ONCE = 500


class ClusterSubscriber:
    """Subscriptions of this node in a Cluster.

    Args:
        probe_channel: Names channels of this node, which lie in slots all over the Cluster.
        callbacks: Who is told; nobody needs to be told of what a single master drops.
    """

    def __init__(self, cluster: Cluster, probe_channel: ProbeChannel, callbacks: Callbacks) -> None:
        self._cluster = cluster
        self._name_probe_channel = probe_channel
        self._callbacks = Callbacks(callbacks.on_event, callbacks.on_gap, self._on_dropped)
        self._wanted: set[str] = set()
        self._subscribers: dict[Address, Subscriber] = {}
        self._misplaced: dict[str, float] = {}  # channel and since when, the longest first
        self._is_full_check_due = False
        self._next_full_check = 0.0
        self._is_check_due = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._loop = asyncio.get_running_loop()
        cluster.on_change = self._on_owners_changed

    async def start(self, channels: Collection[str]) -> None:
        """Subscribe to ``channels`` and hear the first probe of each master.

        Raises:
            StoreUnavailable: A master cannot be reached, or the node cannot hear itself.
        """
        self._wanted.update(channels)
        for address in self._cluster.master_addresses:
            self._subscribers[address] = self._new_subscriber(address)
        await gather_all(subscriber.start() for subscriber in self._subscribers.values())
        await gather_all(self._subscribe_at_owner(channel) for channel in channels)
        self._task = asyncio.create_task(self._supervise())

    async def stop(self) -> None:
        await end_tasks(self._task)
        await asyncio.gather(*(subscriber.stop() for subscriber in self._subscribers.values()))

    @property
    def is_healthy(self) -> bool:
        """Whether every master is heard, and no channel has been misplaced for a probe's period."""
        since = next(iter(self._misplaced.values()), None)
        in_place = since is None or self._loop.time() - since < PROBE_PERIOD_SECS
        return in_place and all(subscriber.is_healthy for subscriber in self._subscribers.values())

    @property
    def secs_since_probe(self) -> float:
        """Of the master that has not been heard for the longest."""
        return max((subscriber.secs_since_probe for subscriber in self._subscribers.values()), default=0.0)

    async def subscribe(self, channel: str) -> None:
        """As `Subscriber.subscribe`; a slot that is being moved only makes it take longer."""
        self._wanted.add(channel)
        try:
            async with asyncio.timeout(REPLY_TIMEOUT_SECS):
                while not await self._is_subscribed_at_owner(channel):
                    self._cluster.refresh()
                    await asyncio.sleep(_RETRY_SECS)
        except TimeoutError as error:
            raise StoreUnavailable("no master takes the subscription") from error

    def unsubscribe(self, channel: str) -> None:
        """As `Subscriber.unsubscribe`."""
        self._wanted.discard(channel)
        self._misplaced.pop(channel, None)
        for subscriber in self._subscribers.values():
            if channel in subscriber.channels:
                subscriber.unsubscribe(channel)

    async def _is_subscribed_at_owner(self, channel: str) -> bool:
        try:
            await self._subscribe_at_owner(channel)
        except StoreUnavailable as error:
            log.debug("a master does not take a subscription", extra={"reason": str(error)})
            return False
        return True

    async def _subscribe_at_owner(self, channel: str) -> None:
        subscriber = self._subscriber_at_owner(channel)
        if subscriber is None:
            raise StoreUnavailable("nobody is known to own this channel")
        await subscriber.subscribe(channel)

    def _subscriber_at_owner(self, channel: str) -> Subscriber | None:
        owner = self._cluster.owner_of(channel)
        return self._subscribers.get(owner) if owner is not None else None

    def _new_subscriber(self, address: Address) -> Subscriber:
        return Subscriber(
            self._cluster.endpoint(address),
            self._cluster.call,
            lambda: self._probe_channel_at(address),
            self._callbacks,
            SHARDED,
        )

    def _probe_channel_at(self, address: Address) -> str:
        for number in range(SLOTS * 2):
            channel = self._name_probe_channel(number)
            if self._cluster.owner_of(channel) == address:
                return channel
        raise StoreUnavailable("this master owns no slot")

    def _on_dropped(self, channel: str) -> None:
        self._mark_misplaced(channel)
        self._cluster.refresh()
        self._is_check_due.set()

    def _mark_misplaced(self, channel: str) -> None:
        if channel in self._wanted:
            self._misplaced.setdefault(channel, self._loop.time())

    def _on_owners_changed(self) -> None:
        self._is_full_check_due = True
        self._is_check_due.set()

    async def _supervise(self) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(_CHECK_PERIOD_SECS):
                    await self._is_check_due.wait()
            self._is_check_due.clear()
            if not all(subscriber.is_healthy for subscriber in self._subscribers.values()):
                self._cluster.refresh()
            await self._follow_masters()
            await self._resubscribe(self._channels_to_check())
            if self._misplaced:
                await asyncio.sleep(_RETRY_SECS)
                self._is_check_due.set()

    async def _follow_masters(self) -> None:
        """Have one subscriber for each master, and no others."""
        masters = set(self._cluster.master_addresses)
        for address in masters - set(self._subscribers):
            subscriber = self._subscribers[address] = self._new_subscriber(address)
            subscriber.start_in_background()
        for address in set(self._subscribers) - masters:
            subscriber = self._subscribers[address]
            await subscriber.stop()
            del self._subscribers[address]
            for channel in subscriber.channels:
                self._mark_misplaced(channel)

    def _channels_to_check(self) -> Collection[str]:
        """The channels known to be misplaced; and after a change of the slot map all, but not too often."""
        now = self._loop.time()
        if not self._is_full_check_due or now < self._next_full_check:
            return tuple(self._misplaced)
        self._is_full_check_due = False
        self._next_full_check = now + _CHECK_PERIOD_SECS  # with many sockets it takes a while
        return tuple(self._wanted)

    async def _resubscribe(self, to_check: Collection[str]) -> None:
        """Subscribe those that are misplaced at their owner."""
        to_move = defaultdict(list)
        for channel in to_check:
            subscriber = self._subscriber_at_owner(channel)
            if subscriber is not None and channel in subscriber.channels:
                self._misplaced.pop(channel, None)
                continue
            self._mark_misplaced(channel)
            if subscriber is not None:
                to_move[subscriber].append(channel)
        for subscriber, channels in to_move.items():
            for first in range(0, len(channels), _CHANNELS_AT_ONCE):
                await self._move(subscriber, channels[first : first + _CHANNELS_AT_ONCE])

    async def _move(self, destination: Subscriber, channels: list[str]) -> None:
        """Subscribe to channels at their owner, end their subscriptions elsewhere, and report the gap."""
        wanted = [channel for channel in channels if channel in self._wanted]
        outcomes = await asyncio.gather(*map(destination.subscribe, wanted), return_exceptions=True)
        moved = set()
        for channel, outcome in zip(wanted, outcomes, strict=True):
            is_wanted = channel in self._wanted  # not if its last socket left meanwhile
            if is_wanted and isinstance(outcome, BaseException):
                continue  # still misplaced, or the destination subscribes to it as soon as it can
            for subscriber in self._subscribers.values():
                if channel in subscriber.channels and (subscriber is not destination or not is_wanted):
                    subscriber.unsubscribe(channel)
            if is_wanted:
                self._misplaced.pop(channel, None)
                moved.add(channel)
        if moved:
            self._callbacks.on_gap(moved)
