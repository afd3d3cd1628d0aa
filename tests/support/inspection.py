"""Looking at what a test did: in Redis, and in the metrics of this process."""

from uuid import UUID

from prometheus_client import REGISTRY
from redis import Redis

from obscura.model.message_ids import EntryId
from obscura.store import keyspace
from tests.support.client import User
from tests.support.redis import RedisServer
from tests.support.waiting import eventually


def metric(name: str, **labels: str) -> float:
    """The value of a metric, summed over all nodes of this process since it began."""
    return REGISTRY.get_sample_value(name, labels) or 0.0


def uuid_of(user: User) -> UUID:
    return UUID(user.id)


def inbox_of(redis: RedisServer, user: User) -> list[EntryId]:
    """The ids of the entries in a user's inbox, in the order stored."""
    with redis.client as client:
        return [EntryId.parse(entry_id.encode()) for entry_id, _ in client.xrange(keyspace.inbox(uuid_of(user)))]


def calls(redis: Redis, command: str) -> int:
    """How often a Redis has been asked for a command, in lower case."""
    return int(redis.info("commandstats").get(f"cmdstat_{command}", {"calls": 0})["calls"])


async def more_calls(redis: Redis, command: str, count: int) -> None:
    """Wait until a command was called so many times more."""
    wanted = calls(redis, command) + count
    await eventually(lambda: calls(redis, command) >= wanted)
