"""Everything a node has open towards Redis: started, watched and stopped as one."""

import asyncio
from collections.abc import Collection, Sequence
from functools import partial
from typing import Protocol

from obscura.errors import StartupError, StoreUnavailable, UnfitRedis
from obscura.observability.metrics.gateway import EVENT_SILENCE
from obscura.observability.metrics.redis import REDIS_CONNECTED, REDIS_REQUIREMENTS, REDIS_UNMET
from obscura.redis_client.cluster import Cluster
from obscura.redis_client.cluster_subscriber import ClusterSubscriber
from obscura.redis_client.commands import CommandExecutor, Standalone
from obscura.redis_client.data_mark import RememberedMark
from obscura.redis_client.endpoints import ClusterEndpoints, StaticEndpoint
from obscura.redis_client.pubsub import Callbacks, ProbeChannel
from obscura.redis_client.requirements import Needs
from obscura.redis_client.scripts import Scripts
from obscura.redis_client.sentinel import SentinelEndpoint
from obscura.redis_client.subscriber import Subscriber
from obscura.redis_client.vetting import Vetting
from obscura.tasks import end_tasks, gather_all


class EventSubscriber(Protocol):
    """The subscriptions of this node, at one server or in a Cluster; see `Subscriber`."""

    @property
    def is_healthy(self) -> bool: ...

    @property
    def secs_since_probe(self) -> float: ...

    async def start(self, channels: Collection[str]) -> None: ...

    async def stop(self) -> None: ...

    async def subscribe(self, channel: str) -> None: ...

    def unsubscribe(self, channel: str) -> None: ...


class RedisClient:
    """The commands, the scripts and the events of one node.

    Args:
        url: ``redis://``, ``rediss://`` or ``unix://``; with ``+sentinel`` or ``+cluster`` and several hosts.
        client_name: What CLIENT LIST calls the connections.
        replicas: So many must have a copy of what may not be lost; 0 for no wait.
        probe_channel: Names the channels on which this node, and no other, sends itself probes.
        callbacks: Who is told of events and gaps.
        marks: Keys of the mark of the data: the first, or all of a Cluster.

    Attributes:
        data_mark: What remembers the mark, once it is told; without it other data will not do.
    """

    def __init__(
        self,
        url: str,
        client_name: str,
        replicas: int,
        probe_channel: ProbeChannel,
        callbacks: Callbacks,
        marks: Sequence[str] = (),
    ) -> None:
        self.commands: CommandExecutor
        self.events: EventSubscriber
        self._sentinel: SentinelEndpoint | None = None
        self._master_watch: asyncio.Task[None] | None = None
        needs = Needs(replicas, _is_cluster(url))
        self.data_mark = RememberedMark(marks if needs.is_cluster else marks[:1])
        if needs.is_cluster:
            cluster = Cluster(ClusterEndpoints(url, client_name), replicas, lambda: Vetting(needs, self.data_mark))
            self.commands = cluster
            self.events = ClusterSubscriber(cluster, probe_channel, callbacks)
        else:
            endpoint = _endpoint_of(url, client_name)
            self._sentinel = endpoint if isinstance(endpoint, SentinelEndpoint) else None
            self.commands = Standalone(endpoint, replicas, Vetting(needs, self.data_mark))
            self.events = Subscriber(endpoint, self.commands.call, probe_channel, callbacks)
        self.scripts = Scripts(self.commands)
        for requirement in REDIS_REQUIREMENTS:
            REDIS_UNMET.labels(requirement).set_function(partial(self._is_unmet, requirement))
        REDIS_CONNECTED.set_function(lambda: self.is_connected)
        EVENT_SILENCE.set_function(lambda: self.events.secs_since_probe)

    async def start(self, channels: Collection[str]) -> None:
        """Connect, check the servers and subscribe to ``channels``. To be stopped also after an error.

        Raises:
            StartupError: Redis cannot be reached or does not do.
        """
        try:
            await self.commands.start()
            await self.events.start(channels)
        except UnfitRedis as error:
            raise StartupError(str(error)) from error
        except StoreUnavailable as error:
            raise StartupError(f"Redis is not available: {error}") from error
        if self._sentinel is not None:
            self._master_watch = asyncio.create_task(self._sentinel.watch())

    async def stop(self) -> None:
        await end_tasks(self._master_watch)
        await self.events.stop()
        await self.commands.stop()

    @property
    def is_connected(self) -> bool:
        """Whether the connection to each master stands."""
        return all(master.is_connected for master in self.commands.masters)

    async def look(self) -> None:
        """Look at every master whether it answers and may be used.

        Raises:
            UnfitRedis: One must not be used.
            StoreUnavailable: One does not answer.
        """
        await gather_all(master.look() for master in self.commands.masters)

    async def is_alive(self, timeout_secs: float) -> bool:
        """Whether Redis answers in time and may be used: every master, if there are several."""
        try:
            async with asyncio.timeout(timeout_secs):
                await self.look()
        except (StoreUnavailable, TimeoutError):
            return False
        return True

    def _is_unmet(self, requirement: str) -> bool:
        return any(requirement in master.unmet for master in self.commands.masters)

    async def is_subscribed(self) -> bool:
        """Whether this node hears its events."""
        return self.events.is_healthy


def connect_to(url: str, client_name: str) -> CommandExecutor:
    """Make what runs commands alone, for a short visit: the caller starts and stops it."""
    if _is_cluster(url):
        return Cluster(ClusterEndpoints(url, client_name))
    return Standalone(_endpoint_of(url, client_name))


def _is_cluster(url: str) -> bool:
    return "+cluster:" in url.partition("//")[0]


def _endpoint_of(url: str, client_name: str) -> StaticEndpoint | SentinelEndpoint:
    is_sentinel = "+sentinel:" in url.partition("//")[0]
    return SentinelEndpoint(url, client_name) if is_sentinel else StaticEndpoint(url, client_name)
