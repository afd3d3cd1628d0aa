"""Hearing the events of a Cluster: one subscriber for each master, and every channel at the master that owns it.

A channel is wanted from its `subscribe` on. Where it is listened to is compared with who
owns it whenever either may have changed, and what does not agree is subscribed at its
owner and reported as a gap. So a moved slot, a promoted replica and a new master are all
the same case.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Collection
from contextlib import suppress

from redis.crc import REDIS_CLUSTER_HASH_SLOTS

from obscura.errors import StoreUnavailable
from obscura.redis_client.cluster import Cluster
from obscura.redis_client.endpoints import Address
from obscura.redis_client.pubsub import SHARDED, Callbacks, OnEvent, OnGap
from obscura.redis_client.subscriber import PROBE_PERIOD_SECS, Subscriber
from obscura.redis_client.transport import REPLY_TIMEOUT_SECS
from obscura.store import keyspace
from obscura.tasks import all_of, end_tasks

log = logging.getLogger(__name__)

_LOOK_AGAIN_SECS = 1.0
_RETRY_SECS = 0.1
_AT_ONCE = 500


class ClusterEvents:
    """Subscriptions of this node in a Cluster. The callbacks are those of `Callbacks`."""

    def __init__(
        self,
        cluster: Cluster,
        node_id: str,
        on_event: OnEvent,
        on_gap: OnGap,
    ) -> None:
        self._cluster = cluster
        self._node_id = node_id
        self._on_event = on_event
        self._on_gap = on_gap
        self._wanted: set[str] = set()
        self._subscribers: dict[Address, Subscriber] = {}
        self._misplaced: dict[str, float] = {}  # wanted and not listened to at their owner, the longest first: since
        self._is_scan_due = False
        self._next_scan = 0.0
        self._changed = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._loop = asyncio.get_running_loop()
        cluster.on_change = self._on_owners_changed

    async def start(self, channels: Collection[str]) -> None:
        """Subscribe to ``channels`` and hear the first probe of each master.

        Raises:
            StoreUnavailable: A master cannot be reached, or the node cannot hear itself.
        """
        self._wanted.update(channels)
        for address in self._cluster.masters:
            self._subscribers[address] = self._new_subscriber(address)
        await all_of(subscriber.start() for subscriber in self._subscribers.values())
        await all_of(self._subscribe_at_owner(channel) for channel in channels)
        self._task = asyncio.create_task(self._follow())

    async def stop(self) -> None:
        await end_tasks(self._task)
        await asyncio.gather(*(subscriber.stop() for subscriber in self._subscribers.values()))

    @property
    def healthy(self) -> bool:
        """Whether every master is heard, and no channel has been away from its owner for a probe's period."""
        since = next(iter(self._misplaced.values()), None)
        in_place = since is None or self._loop.time() - since < PROBE_PERIOD_SECS
        return in_place and all(subscriber.healthy for subscriber in self._subscribers.values())

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

    async def _is_subscribed_at_owner(self, channel: str) -> bool:
        try:
            await self._subscribe_at_owner(channel)
        except StoreUnavailable as error:
            log.debug("a master does not take a subscription", extra={"reason": str(error)})
            return False
        return True

    def unsubscribe(self, channel: str) -> None:
        """As `Subscriber.unsubscribe`."""
        self._wanted.discard(channel)
        self._misplaced.pop(channel, None)
        for subscriber in self._subscribers.values():
            if channel in subscriber.channels:
                subscriber.unsubscribe(channel)

    async def _subscribe_at_owner(self, channel: str) -> None:
        owner = self._cluster.owner_of(channel)
        subscriber = self._subscribers.get(owner) if owner is not None else None
        if subscriber is None:
            raise StoreUnavailable("nobody is known to own this channel")
        await subscriber.subscribe(channel)

    def _new_subscriber(self, address: Address) -> Subscriber:
        return Subscriber(
            self._cluster.server(address),
            self._cluster.call,
            lambda: self._probe_channel(address),
            Callbacks(self._on_event, self._on_gap, self._on_dropped),
            SHARDED,
        )

    def _probe_channel(self, address: Address) -> str:
        for number in range(REDIS_CLUSTER_HASH_SLOTS * 2):
            channel = keyspace.probe(self._node_id, number)
            if self._cluster.owner_of(channel) == address:
                return channel
        raise StoreUnavailable("this master owns no slot")

    def _on_dropped(self, channel: str) -> None:
        self._note_misplaced(channel)
        self._cluster.refresh()
        self._changed.set()

    def _note_misplaced(self, channel: str) -> None:
        if channel in self._wanted:
            self._misplaced.setdefault(channel, self._loop.time())

    def _on_owners_changed(self) -> None:
        self._is_scan_due = True
        self._changed.set()

    async def _follow(self) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(_LOOK_AGAIN_SECS):
                    await self._changed.wait()
            self._changed.clear()
            if not all(subscriber.healthy for subscriber in self._subscribers.values()):
                self._cluster.refresh()
            await self._follow_masters()
            await self._put_in_place(self._take_suspects())
            if self._misplaced:
                await asyncio.sleep(_RETRY_SECS)
                self._changed.set()

    async def _follow_masters(self) -> None:
        masters = set(self._cluster.masters)
        for address in masters - set(self._subscribers):
            subscriber = self._subscribers[address] = self._new_subscriber(address)
            subscriber.start_listening()
        for address in set(self._subscribers) - masters:
            subscriber = self._subscribers[address]
            await subscriber.stop()
            del self._subscribers[address]
            for channel in subscriber.channels:
                self._note_misplaced(channel)

    def _take_suspects(self) -> Collection[str]:
        """The channels that may be listened to at the wrong place: those known, and now and then all."""
        now = self._loop.time()
        if not self._is_scan_due or now < self._next_scan:
            return tuple(self._misplaced)
        self._is_scan_due = False
        self._next_scan = now + _LOOK_AGAIN_SECS  # with many sockets it takes a while
        return tuple(self._wanted)

    async def _put_in_place(self, suspects: Collection[str]) -> None:
        to_move = defaultdict(list)
        for channel in suspects:
            owner = self._cluster.owner_of(channel)
            subscriber = self._subscribers.get(owner) if owner is not None else None
            if subscriber is not None and channel in subscriber.channels:
                self._misplaced.pop(channel, None)
                continue
            self._note_misplaced(channel)
            if subscriber is not None:
                to_move[subscriber].append(channel)
        for subscriber, channels in to_move.items():
            for first in range(0, len(channels), _AT_ONCE):
                await self._move(subscriber, channels[first : first + _AT_ONCE])

    async def _move(self, destination: Subscriber, channels: list[str]) -> None:
        """Listen to channels at their owner, and nowhere else."""
        wanted = [channel for channel in channels if channel in self._wanted]
        outcomes = await asyncio.gather(*map(destination.subscribe, wanted), return_exceptions=True)
        moved = set()
        for channel, outcome in zip(wanted, outcomes, strict=True):
            is_wanted = channel in self._wanted  # not if its last socket left meanwhile
            if is_wanted and isinstance(outcome, BaseException):
                continue  # still misplaced, or the destination listens to it as soon as it can
            for subscriber in self._subscribers.values():
                if channel in subscriber.channels and (subscriber is not destination or not is_wanted):
                    subscriber.unsubscribe(channel)
            if is_wanted:
                self._misplaced.pop(channel, None)
                moved.add(channel)
        if moved:
            self._on_gap(moved)
