"""What things weigh in Redis: MEMORY USAGE of every key of accounts that were made over the API."""

import asyncio
from typing import Any

import aiohttp

from benchmarks.relays import Relay, relay
from tests.support.client import Api, User

_PRE_KEYS = 100
_MESSAGE_BYTES = 512
_PENDING = 200
_SESSIONS = 10


def weigh(count: int) -> dict[str, Any]:
    """Bytes of an account, a one-time pre-key, a pending message of 512 bytes and a session; means over ``count``."""
    with relay() as one:
        return asyncio.run(_weigh(one, count))


async def _weigh(one: Relay, count: int) -> dict[str, Any]:
    async with aiohttp.ClientSession() as session:
        api = Api(session, one.nodes[0].port)
        bare = [await api.register(pre_keys=1) for _ in range(count)]
        account = _bytes_of(one, bare)
        stocked = [await api.register(pre_keys=_PRE_KEYS) for _ in range(count)]
        pre_keys = _bytes_of(one, stocked) - account
        for user in bare:
            await user.deliver(user, *[bytes(_MESSAGE_BYTES)] * _PENDING)
        pending = _bytes_of(one, bare) - account
        for user in bare:
            for _ in range(_SESSIONS):
                await user.another_session()
        sessions = _bytes_of(one, bare) - account - pending
    return {
        "account_bytes": account / count,
        "pre_key_bytes": pre_keys / count / (_PRE_KEYS - 1),
        "pending_message_bytes": pending / count / _PENDING,
        "message_bytes": _MESSAGE_BYTES,
        "session_bytes": sessions / count / _SESSIONS,
    }


def _bytes_of(one: Relay, users: list[User]) -> int:
    """All keys of some users, with their names in the keyspace."""
    total = 0
    with one.redis.client as client:
        for user in users:
            keys = [f"obscura:username:{user.name}", *client.scan_iter(f"obscura:{{{user.id}}}:*", count=1000)]
            total += sum(client.memory_usage(key, samples=0) or 0 for key in keys)
    return total
