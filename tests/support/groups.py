"""Redis of several processes for the tests of a module, what a node has open towards it, and moving slots about."""

import asyncio
import random
from collections.abc import AsyncIterator, Collection, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from functools import partial
from typing import TypeVar

from redis.exceptions import RedisError

from obscura.errors import StoreUnavailable
from obscura.redis_client.client import RedisClient
from obscura.redis_client.pubsub import Callbacks
from obscura.redis_client.slot_map import slot_of_key
from obscura.store import keyspace
from tests.support.redis7 import ClusterRedis, RedisProcess, SentinelRedis
from tests.support.waiting import eventually

REPAIR_SECS = 30.0

Group = TypeVar("Group", ClusterRedis, SentinelRedis)


@contextmanager
def started(group: Group) -> Iterator[Group]:
    """A group that outlives the event loop of one test."""
    loop = asyncio.new_event_loop()
    try:
        loop.run_until_complete(group.__aenter__())
        yield group
    finally:
        group.remove()
        loop.close()


class EventRecorder:
    """The database of a node, and what it was told.

    Attributes:
        heard: Channel and payload of each event.
        gaps: The channels of each gap.
    """

    def __init__(self, url: str, replicas: int = 0, name: str = "recorder") -> None:
        self.heard: list[tuple[str, bytes]] = []
        self.gaps: list[frozenset[str]] = []
        self.database = RedisClient(
            url,
            keyspace.client_name(name),
            replicas,
            partial(keyspace.probe, name),
            Callbacks(self._on_event, self._on_gap),
        )
        self.commands, self.events = self.database.commands, self.database.events

    def _on_event(self, channel: str, payload: bytes) -> None:
        self.heard.append((channel, payload))

    def _on_gap(self, channels: Collection[str]) -> None:
        self.gaps.append(frozenset(channels))

    async def publish(self, channel: str, payload: str) -> None:
        await self.commands.call(self.commands.publish, channel, payload)

    async def is_well(self) -> bool:
        return self.events.is_healthy and await self.database.is_alive(1)

    async def hears(self, channel: str) -> bool:
        """Whether an event published now arrives."""
        payload = str(random.getrandbits(64))
        with suppress(StoreUnavailable):
            await self.publish(channel, payload)
            with suppress(AssertionError):
                return bool(await eventually(lambda: (channel, payload.encode()) in self.heard, 0.5))
        return False


@asynccontextmanager
async def listening(url: str, *channels: str, replicas: int = 0) -> AsyncIterator[EventRecorder]:
    """A recorder on a Redis, subscribed to channels."""
    recorder = EventRecorder(url, replicas)
    try:
        await recorder.database.start({keyspace.ENDED_SESSIONS})
        await asyncio.gather(*map(recorder.events.subscribe, channels))
        yield recorder
    finally:
        await recorder.database.stop()


def id_of(server: RedisProcess) -> str:
    with server.client() as client:
        return str(client.execute_command("CLUSTER MYID"))


def owner_of(cluster: ClusterRedis, key: str) -> RedisProcess:
    """The master that answers for a key without sending anybody on."""
    for master in cluster.masters:
        with master.client() as client, suppress(RedisError):
            client.exists(key)
            return master
    raise AssertionError(f"nobody owns the slot of {key}")


class Migration:
    """A slot on its way from its owner to another master, step by step (redis.io/commands/cluster-setslot)."""

    def __init__(self, cluster: ClusterRedis, key: str) -> None:
        self._cluster = cluster
        self._slot = slot_of_key(key)
        self.source = owner_of(cluster, key)
        self.target = next(master for master in cluster.masters if master is not self.source)

    def begin(self) -> None:
        self._set_slot(self.target, "IMPORTING", id_of(self.source))
        self._set_slot(self.source, "MIGRATING", id_of(self.target))

    def move(self, *keys: str) -> None:
        with self.source.client() as client:
            client.execute_command("MIGRATE", "127.0.0.1", self.target.port, "", 0, 5000, "KEYS", *keys)

    def end(self) -> None:
        new_owner = id_of(self.target)
        for server in [self.target, self.source, *self._cluster.masters]:
            self._set_slot(server, "NODE", new_owner)

    def _set_slot(self, server: RedisProcess, state: str, node_id: str) -> None:
        with server.client() as client:
            client.execute_command("CLUSTER SETSLOT", self._slot, state, node_id)


async def repair(group: ClusterRedis) -> None:
    """Wait until every server is up and every replica has its master's data."""
    await eventually(group._is_ready, REPAIR_SECS)
