"""Inboxes as they lie in Redis: looked into, and filled with messages of the past. ``redis`` speaks bytes."""

from redis import Redis

from obscura.model.message_ids import EntryId
from obscura.store import keyspace
from obscura.v1.obscura_pb2 import EncryptedMessage
from tests.support.client import User, encrypted


def bodies_of(redis: Redis, user: User) -> list[bytes]:
    """What waits for a user, oldest first."""
    return [fields[b"body"] for _, fields in redis.xrange(keyspace.inbox(user.id))]


def contents_of(redis: Redis, user: User) -> list[bytes]:
    return [EncryptedMessage.FromString(body).content for body in bodies_of(redis, user)]


def size_of(redis: Redis, user: User) -> int:
    """The bytes that the account says are waiting."""
    return int(redis.hget(keyspace.account(user.id), "inbox_bytes"))


def fill_with_past(redis: Redis, recipient: User, sender: User, messages: dict[bytes, int]) -> None:
    """Put messages into an empty inbox, each with its age in milliseconds, oldest first."""
    seconds, microseconds = redis.time()
    now_ms = seconds * 1000 + microseconds // 1000
    entries = [(EntryId(now_ms - age_ms, 0), encrypted(content)) for content, age_ms in messages.items()]
    for entry, body in entries:
        redis.xadd(keyspace.inbox(recipient.id), {"from": sender.id, "body": body}, id=str(entry))
    account = {
        "inbox_bytes": sum(len(body) for _, body in entries),
        "inbox_last": str(entries[-1][0]),
        "inbox_oldest": entries[0][0].ms,
    }
    redis.hset(keyspace.account(recipient.id), mapping=account)
