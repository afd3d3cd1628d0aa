"""What is measured: a Redis, nodes on it, and accounts that are written straight into it.

Registering a million users would measure argon2. These have all that an account has, but
no password that fits and no one-time keys, and tokens made with the secret of the nodes.
"""

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID, uuid4

from benchmarks.processes import Running, node
from obscura.crypto.tokens import AccessTokens
from obscura.store import keyspace
from tests.support.node_process import ROOT
from tests.support.redis import RedisServer

_SECRET = "a secret of the benchmarks of no use elsewhere"  # noqa: S105
_TTL_SECS = 7200
_AT_ONCE = 5000
_FIELDS = {
    "username": "bench-0123456789abcdef0123",
    "password_hash": "$argon2id$v=19$m=19456,t=2,p=1$" + "a" * 66,
    "created_at": "1700000000000",
    "identity_key": "B" * 44,
    "registration_id": "4711",
    "signed_pre_key_id": "1",
    "signed_pre_key": "B" * 44,
    "signed_pre_key_signature": "B" * 88,
    "inbox_bytes": "0",
    "inbox_last": "0-0",
    "inbox_oldest": "0",
}


@dataclass
class Relay:
    """A Redis and the nodes on it."""

    redis: RedisServer
    nodes: list[Running]

    @property
    def urls(self) -> list[str]:
        """As options of the generator."""
        return [word for one in self.nodes for word in ("--url", f"http://127.0.0.1:{one.port}")]

    @property
    def pids(self) -> list[str]:
        """As options of the generator: the nodes first, Redis last."""
        assert self.redis.process is not None
        pids = [*(one.pid for one in self.nodes), self.redis.process.pid]
        return [word for pid in pids for word in ("--pid", str(pid))]

    @property
    def used_memory_bytes(self) -> int:
        with self.redis.client as client:
            return int(client.info("memory")["used_memory"])


@contextmanager
def relay(nodes: int = 1, appendfsync: str = "everysec", checkout: Path = ROOT, **settings: object) -> Iterator[Relay]:
    """Nodes on a Redis that syncs its file each second, or with ``always`` before it answers, as the server's own."""
    redis = RedisServer()
    try:
        redis.start("--appendfsync", appendfsync)
        given = {"redis_url": redis.url, "jwt_secret": _SECRET, "access_token_ttl_secs": _TTL_SECS}
        given |= {"log_level": "error"} | settings
        with ExitStack() as running:
            yield Relay(redis, [running.enter_context(node(checkout, **given)) for _ in range(nodes)])
    finally:
        redis.remove()


def make_accounts(redis: RedisServer, count: int) -> list[UUID]:
    """Write accounts, some thousands at a time."""
    made = [uuid4() for _ in range(count)]
    script = "for i = 1, #KEYS do redis.call('HSET', KEYS[i], unpack(ARGV)) end"
    fields = [word for pair in _FIELDS.items() for word in pair]
    with redis.client as client:
        for first in range(0, count, _AT_ONCE):
            keys = [keyspace.account(user_id) for user_id in made[first : first + _AT_ONCE]]
            client.eval(script, len(keys), *keys, *fields)
    return made


@contextmanager
def logged_in(redis: RedisServer, user_ids: list[UUID]) -> Iterator[Path]:
    """A file with a session's token for each account, as the generator takes it; nobody else may read it."""
    access = AccessTokens([_SECRET], _TTL_SECS)
    descriptor, name = tempfile.mkstemp(prefix="obscura-bench-")
    try:
        with os.fdopen(descriptor, "w") as file, redis.client as client, client.pipeline(transaction=False) as pipe:
            for user_id in user_ids:
                session_id = uuid4()
                pipe.hset(keyspace.session(user_id, session_id), mapping={"token": "0" * 64, "created_at": 0})
                pipe.zadd(keyspace.sessions(user_id), {str(session_id): 1})
                file.write(json.dumps({"id": str(user_id), "token": access.issue(user_id, session_id).token}) + "\n")
            pipe.execute()
        yield Path(name)
    finally:
        Path(name).unlink()
