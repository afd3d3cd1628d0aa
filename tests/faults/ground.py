"""A relay to hurt: Redis, three nodes, and a proxy between the last of them and Redis."""

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random

from tests.faults.account import Door
from tests.faults.crowd import RATE_PER_SEC, SIZE, Crowd
from tests.faults.nodes import ServedNode
from tests.support.balancers import free_port
from tests.support.proxy import Proxy
from tests.support.redis7 import RedisProcess
from tests.support.waiting import eventually

NODES = 3

# Beside the defaults: tokens that are refreshed during a run, inboxes that nothing falls out of, and a client whose
# answer was lost may present its refresh token again, so that any refusal is the relay's fault.
SETTINGS = {
    "access_token_ttl_secs": 20,
    "refresh_token_retry": True,
    "max_inbox_size": 1_000_000,
    "max_inbox_bytes": 2**30,
    "password_workers": 1,
}


@dataclass
class Ground:
    """Everything a scenario may touch.

    Attributes:
        seed: What `random` was seeded with; each scenario begins with it anew.
        url: Of Redis, as the first node has it.
        redis: What the nodes use; None where it is not one server.
        proxy: On the way of the last node; None where the nodes find Redis by themselves.
    """

    folder: Path
    random: Random
    nodes: list[ServedNode]
    crowd: Crowd
    seed: int
    url: str
    redis: RedisProcess | None = None
    proxy: Proxy | None = None

    @property
    def now(self) -> float:
        return asyncio.get_running_loop().time()

    async def are_ready(self, deadline_secs: float = 30.0) -> None:
        """Wait until every node is."""
        await asyncio.gather(*(eventually(node.is_ready, deadline_secs) for node in self.nodes))

    async def add_node(self, **settings: object) -> ServedNode:
        """One more node on the same Redis, which no client of the crowd comes to; for the caller to remove."""
        node = ServedNode(f"extra{free_port()}", self.folder, self.url, **SETTINGS | settings)
        await node.start()
        return node

    async def restore(self) -> None:
        """Bring back what a scenario that failed may have left broken."""
        if self.proxy is not None:
            self.proxy.heal()
            self.proxy.delay_secs = 0.0
        for node in self.nodes:
            if not node.is_running:
                await node.start()
        await self.are_ready()


@asynccontextmanager
async def standalone(seed: int, rate_per_sec: float = RATE_PER_SEC, **settings: object) -> AsyncIterator[Ground]:
    """Three nodes on one Redis, the last of them by way of the proxy."""
    async with AsyncExitStack() as stack:
        redis = await stack.enter_async_context(RedisProcess())
        proxy = await stack.enter_async_context(Proxy(("127.0.0.1", redis.port)))
        urls = [redis.url] * (NODES - 1) + [proxy.redis_url]
        ground = await stack.enter_async_context(on_redis(urls, seed, SIZE, rate_per_sec, **settings))
        ground.redis, ground.proxy = redis, proxy
        yield ground


@asynccontextmanager
async def on_redis(
    urls: list[str], seed: int, size: int = SIZE, rate_per_sec: float = RATE_PER_SEC, **settings: object
) -> AsyncIterator[Ground]:
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
        crowd = Crowd([Door(node.name, node.port) for node in nodes], random, size, rate_per_sec)
        stack.push_async_callback(crowd.leave)
        await crowd.register()
        yield Ground(folder, random, nodes, crowd, seed, urls[0])
