"""What an idle authenticated socket costs: server RSS per socket, and memory in Redis.

Usage: python -m benchmarks.idle_sockets [--sockets 5000]

Accounts are written straight into Redis, since registering thousands would measure
argon2. Each has one session, enough pre-keys to be left alone, and one socket.
"""

import argparse
import asyncio
import resource
from pathlib import Path
from uuid import UUID, uuid4

from redis import Redis

from benchmarks.processes import node, rss_kib
from obscura.crypto.tokens import AccessTokens
from obscura.store import keyspace

_SECRET = "a secret of the benchmarks of no use elsewhere"  # noqa: S105
_HANDSHAKE = (
    "GET /v1/gateway?token={token} HTTP/1.1\r\nHost: bench\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
_AT_ONCE = 200


def make_accounts(redis: "Redis", count: int) -> list[tuple[UUID, UUID]]:
    """Write accounts with a session each; returns user and session ids."""
    made = [(uuid4(), uuid4()) for _ in range(count)]
    with redis.pipeline(transaction=False) as pipe:
        for user_id, session_id in made:
            pipe.hset(keyspace.account(user_id), mapping={"inbox_bytes": 0, "inbox_last": "0-0", "inbox_oldest": 0})
            pipe.zadd(keyspace.one_time_order(user_id), {str(key_id): key_id for key_id in range(30)})
            pipe.hset(keyspace.session(user_id, session_id), "token", "0" * 64)
            pipe.zadd(keyspace.sessions(user_id), {str(session_id): 1})
        pipe.execute()
    return made


async def connect(port: int, token: str) -> asyncio.StreamWriter:
    """Open one gateway socket and leave it alone."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=4096)
    writer.write(_HANDSHAKE.format(token=token).encode())
    status = await reader.readuntil(b"\r\n\r\n")
    assert status.startswith(b"HTTP/1.1 101"), status
    return writer


async def connect_all(port: int, tokens: list[str]) -> list[asyncio.StreamWriter]:
    writers: list[asyncio.StreamWriter] = []
    for first in range(0, len(tokens), _AT_ONCE):
        batch = (connect(port, token) for token in tokens[first : first + _AT_ONCE])
        writers += await asyncio.gather(*batch)
    await asyncio.sleep(2)  # let the last first reads of the inboxes finish
    return writers


async def measure(sockets: int) -> None:
    with node(jwt_secret=_SECRET, max_sockets=sockets + 100, shutdown_timeout_secs=20) as relay:
        redis_path = str(Path(relay.data_dir) / "redis.sock")
        with Redis(unix_socket_path=redis_path) as redis:
            accounts = make_accounts(redis, sockets)
            access = AccessTokens([_SECRET], 3600)
            tokens = [access.issue(user_id, session_id).token for user_id, session_id in accounts]
            writers = await connect_all(relay.port, tokens[:100])  # pages that the first sockets bring in for all
            before_kib, before_redis = rss_kib(relay.pid), redis.info("memory")["used_memory"]
            writers += await connect_all(relay.port, tokens[100:])
            after_kib, after_redis = rss_kib(relay.pid), redis.info("memory")["used_memory"]
        opened = len(writers) - 100
        print(f"{len(writers)} sockets open; start-up {relay.ready_secs:.2f} s; RSS {after_kib / 1024:.0f} MiB")
        print(f"server  {(after_kib - before_kib) / opened:6.1f} KiB of RSS per idle socket")
        print(f"redis   {(after_redis - before_redis) / opened / 1024:6.2f} KiB per idle socket (its subscription)")
        for writer in writers:
            writer.transport.abort()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sockets", type=int, default=5000)
    options = parser.parse_args()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    asyncio.run(measure(options.sockets))


if __name__ == "__main__":
    main()
