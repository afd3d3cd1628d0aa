"""A relay to hurt: three nodes on one Redis, on a master with replicas under Sentinel, or on a Cluster."""

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from tests.faults.account import Endpoint
from tests.faults.crowd import RATE_PER_SEC, SIZE, Crowd
from tests.faults.nodes import ServedNode
from tests.support.ports import free_port
from tests.support.proxy import Proxy
from tests.support.redis7 import ClusterRedis, RedisProcess, SentinelRedis
from tests.support.waiting import eventually

NODES = 3
MAJORITY, MINORITY = "majority", "minority"
# All that is stored and copied passes through this process. With more it reads so long a history at the end of a round
# that the Sentinels, whose pings it forwards, take the master for dead.
_PROXIED_RATE_PER_SEC = 200
_WHOLE_SECS = 60.0

# Beside the defaults: tokens that are refreshed during a run, inboxes that nothing falls out of, and a client whose
# answer was lost may present its refresh token again, so that any refusal is the relay's fault.
SETTINGS = {
    "access_token_ttl_secs": 20,
    "refresh_token_retry": True,
    "max_inbox_size": 1_000_000,
    "max_inbox_bytes": 2**30,
    "password_workers": 1,
    "redis_wait_replicas": 0,
}


@dataclass
class Testbed:
    """Everything a scenario may touch.

    Attributes:
        seed: What `random` was seeded with; each scenario begins with it anew.
        url: Of Redis, as the first node has it.
        redis: What the nodes use; None where it is not one server.
        proxy: On the way of the last node; None where the nodes find Redis by themselves.
        sentinel: What the nodes use, with its replicas; else None.
        cluster: What the nodes use, if that is one; else None.
        server_proxies: On the way to each server under Sentinel, by its port; where there are such.
        sentinel_proxies: On the last node's way to the Sentinels; where there are such.
    """

    __test__ = False  # pytest: for all its name it holds no tests

    folder: Path
    random: Random
    nodes: list[ServedNode]
    crowd: Crowd
    seed: int
    url: str
    redis: RedisProcess | None = None
    proxy: Proxy | None = None
    sentinel: SentinelRedis | None = None
    cluster: ClusterRedis | None = None
    server_proxies: dict[int, Proxy] = field(default_factory=dict)
    sentinel_proxies: list[Proxy] = field(default_factory=list)

    @property
    def now(self) -> float:
        return asyncio.get_running_loop().time()

    async def are_ready(self, deadline_secs: float = 30.0) -> None:
        """Wait until every node is."""
        await asyncio.gather(*(eventually(node.is_ready, deadline_secs) for node in self.nodes))

    @asynccontextmanager
    async def with_settings(self, **settings: object) -> AsyncIterator[None]:
        """All nodes anew with other settings, until the end of the block."""
        before = [node.change(**settings) for node in self.nodes]
        try:
            await self._replace_nodes()
            yield
        finally:
            for node, replaced in zip(self.nodes, before, strict=True):
                node.change(**replaced)
            await self._replace_nodes()

    async def _replace_nodes(self) -> None:
        await asyncio.gather(*(node.remove() for node in self.nodes))
        await asyncio.gather(*(node.start() for node in self.nodes))

    async def add_node(self, **settings: object) -> ServedNode:
        """One more node on the same Redis, which no client of the crowd comes to; for the caller to remove."""
        node = ServedNode(f"extra{free_port()}", self.folder, self.url, **SETTINGS | settings)
        await node.start()
        return node

    async def restore(self) -> None:
        """Bring back what a scenario that failed may have left broken."""
        for proxy in [*filter(None, [self.proxy]), *self.server_proxies.values(), *self.sentinel_proxies]:
            proxy.heal()
            proxy.delay_secs = 0.0
        for group in filter(None, [self.sentinel, self.cluster]):
            for server in group.servers:
                server.resume()
                if not server.is_running:
                    await server.start()
            await eventually(group.is_whole, _WHOLE_SECS)
        for node in self.nodes:
            if not node.is_running:
                await node.start()
        await self.are_ready()


@asynccontextmanager
async def standalone(seed: int, rate_per_sec: float = RATE_PER_SEC, **settings: object) -> AsyncIterator[Testbed]:
    """Three nodes on one Redis, the last of them by way of the proxy."""
    async with AsyncExitStack() as stack:
        redis = await stack.enter_async_context(RedisProcess())
        proxy = await stack.enter_async_context(Proxy(("127.0.0.1", redis.port)))
        urls = [redis.url] * (NODES - 1) + [proxy.redis_url]
        testbed = await stack.enter_async_context(on_redis(urls, seed, SIZE, rate_per_sec, **settings))
        testbed.redis, testbed.proxy = redis, proxy
        yield testbed


@asynccontextmanager
async def under_sentinel(seed: int) -> AsyncIterator[Testbed]:
    """Three nodes on a master with two replicas and three Sentinels; one replica is waited for."""
    async with (
        SentinelRedis() as redis,
        on_redis([redis.url] * NODES, seed, redis_wait_replicas=1) as testbed,
    ):
        testbed.sentinel = redis
        yield testbed


@asynccontextmanager
async def behind_proxies(seed: int) -> AsyncIterator[Testbed]:
    """The same with a proxy before each server, and others between the last node and the Sentinels.

    The nodes log in under the names of `MAJORITY` and `MINORITY`, by which their connections can be told apart.
    """
    ports = [free_port() for _ in range(NODES)]
    users = [word for name in (MAJORITY, MINORITY) for word in ("--user", name, "on", "nopass", "~*", "&*", "+@all")]
    async with AsyncExitStack() as stack:
        redis = SentinelRedis(*users, announced_ports=ports)
        server_proxies = {}
        for server in redis.servers:
            proxy = server_proxies[server.port] = Proxy(("127.0.0.1", server.port))
            proxy.port = server.announced_port
            await stack.enter_async_context(proxy)
        await stack.enter_async_context(redis)
        sentinel_proxies = [
            await stack.enter_async_context(Proxy(("127.0.0.1", sentinel.port))) for sentinel in redis.sentinels
        ]
        majority = redis.url.replace("//", f"//{MAJORITY}:none@")
        sentinels = ",".join(f"127.0.0.1:{proxy.port}" for proxy in sentinel_proxies)
        minority = f"redis+sentinel://{MINORITY}:none@{sentinels}/relay"
        urls = [majority] * (NODES - 1) + [minority]
        testbed = await stack.enter_async_context(
            on_redis(urls, seed, SIZE, _PROXIED_RATE_PER_SEC, redis_wait_replicas=1)
        )
        testbed.sentinel, testbed.server_proxies, testbed.sentinel_proxies = redis, server_proxies, sentinel_proxies
        yield testbed


@asynccontextmanager
async def on_cluster(seed: int) -> AsyncIterator[Testbed]:
    """Three nodes on three masters with a replica each, which is waited for."""
    async with ClusterRedis() as redis, on_redis([redis.url] * NODES, seed, redis_wait_replicas=1) as testbed:
        testbed.cluster = redis
        yield testbed


@asynccontextmanager
async def on_redis(
    urls: list[str], seed: int, size: int = SIZE, rate_per_sec: float = RATE_PER_SEC, **settings: object
) -> AsyncIterator[Testbed]:
    """A node for each URL, of any kind of Redis, and a crowd with accounts."""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="obscura-faults-")))
        storage = {"storage_dir": folder / "attachments"}
        nodes = [
            ServedNode(f"node{number}", folder, url, **SETTINGS | storage | settings)
            for number, url in enumerate(urls, 1)
        ]
        for node in nodes:
            stack.push_async_callback(node.remove)
        await asyncio.gather(*(node.start() for node in nodes))
        random = Random(seed)
        crowd = Crowd([Endpoint(node.name, node.port) for node in nodes], random, size, rate_per_sec)
        stack.push_async_callback(crowd.leave)
        await crowd.register()
        yield Testbed(folder, random, nodes, crowd, seed, urls[0])
