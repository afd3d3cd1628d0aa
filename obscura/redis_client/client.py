"""Everything a node has open towards Redis: started, watched and stopped as one."""

import asyncio
from collections.abc import Collection
from typing import Protocol

from obscura.errors import StartupError, StoreUnavailable
from obscura.observability.metrics.gateway import EVENT_SILENCE
from obscura.observability.metrics.redis import REDIS_CONNECTED
from obscura.redis_client.cluster import Cluster
from obscura.redis_client.cluster_subscriber import ClusterEvents
from obscura.redis_client.commands import CommandExecutor, Standalone
from obscura.redis_client.endpoints import CLIENT_NAME, ClusterAddresses, SentinelEndpoint, StaticEndpoint
from obscura.redis_client.pubsub import Callbacks, OnEvent, OnGap
from obscura.redis_client.requirements import check_servers
from obscura.redis_client.scripts import Scripts
from obscura.redis_client.subscriber import Subscriber
from obscura.store import keyspace
from obscura.tasks import end_tasks


class Events(Protocol):
    """What happens to the channels that this node listens to; see `Subscriber`."""

    @property
    def healthy(self) -> bool: ...

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
        replicas: So many must have a copy of what may not be lost; 0 for no wait.
        on_event: Called with the channel and the payload of every event.
        on_gap: Called with the channels whose events may have been missed.
    """

    def __init__(self, url: str, node_id: str, replicas: int, on_event: OnEvent, on_gap: OnGap) -> None:
        self.commands: CommandExecutor
        self.events: Events
        self._sentinel: SentinelEndpoint | None = None
        self._watching: asyncio.Task[None] | None = None
        client_name = f"{CLIENT_NAME}:{node_id}"
        if is_cluster(url):
            cluster = Cluster(ClusterAddresses(url, client_name), replicas)
            self.commands = cluster
            self.events = ClusterEvents(cluster, node_id, on_event, on_gap)
        else:
            server = single_server(url, client_name)
            self._sentinel = server if isinstance(server, SentinelEndpoint) else None
            self.commands = Standalone(server, replicas)
            probe = keyspace.probe(node_id)
            self.events = Subscriber(server, self.commands.call, lambda: probe, Callbacks(on_event, on_gap))
        self.scripts = Scripts(self.commands)
        self._replicas = replicas
        REDIS_CONNECTED.set_function(lambda: self.connected)
        EVENT_SILENCE.set_function(lambda: self.events.secs_since_probe)

    async def start(self) -> None:
        """Connect, check the servers and listen.

        Raises:
            StartupError: Redis cannot be reached or does not do.
        """
        try:
            await self.commands.start()
            await check_servers(self.commands, self._replicas)
            await self.events.start({keyspace.ENDED_SESSIONS})
        except StoreUnavailable as error:
            raise StartupError(f"Redis is not available: {error}") from error
        if self._sentinel is not None:
            self._watching = asyncio.create_task(self._sentinel.watch())

    async def stop(self) -> None:
        await end_tasks(self._watching)
        await self.events.stop()
        await self.commands.stop()

    @property
    def connected(self) -> bool:
        """Whether the connection to each master stands."""
        return all(server.connected for server in self.commands.servers)

    async def is_alive(self, timeout_secs: float) -> bool:
        """Whether Redis answers in time: every master, if there are several."""
        try:
            async with asyncio.timeout(timeout_secs):
                await asyncio.gather(*(server.call("PING") for server in self.commands.servers))
        except (StoreUnavailable, TimeoutError):
            return False
        return True

    async def is_subscribed(self) -> bool:
        """Whether this node hears its events."""
        return self.events.healthy


def connect_to(url: str) -> CommandExecutor:
    """Commands alone, for one who asks and leaves again."""
    if is_cluster(url):
        return Cluster(ClusterAddresses(url))
    return Standalone(single_server(url, CLIENT_NAME))


def is_cluster(url: str) -> bool:
    return "+cluster:" in url.partition("//")[0]


def single_server(url: str, client_name: str) -> StaticEndpoint | SentinelEndpoint:
    is_sentinel = "+sentinel:" in url.partition("//")[0]
    return SentinelEndpoint(url, client_name) if is_sentinel else StaticEndpoint(url, client_name)
