"""What the server at the other end must be like, checked at the start."""

import logging

from obscura.errors import StartupError
from obscura.store.connection import Connection

log = logging.getLogger(__name__)

_MIN_VERSION = (6, 2)


async def check_server(connection: Connection) -> None:
    """Refuse a Redis that cannot keep what it is given; warn of one that may lose it.

    Raises:
        StartupError: Too old, or set to evict keys.
        StoreUnavailable: No reply.
    """
    info = _parse_info(await connection.call("INFO"))
    version = info.get("redis_version", "0")
    if tuple(int(part) for part in version.split(".")[:2]) < _MIN_VERSION:
        raise StartupError(f"Redis {version} is too old: 6.2 or later is needed")
    policy = info.get("maxmemory_policy", "noeviction")
    if policy != "noeviction" and info.get("maxmemory", "0") != "0":
        raise StartupError(
            f"Redis evicts keys when its memory is full (maxmemory-policy {policy}) and would lose "
            "accounts and messages: set maxmemory-policy noeviction"
        )
    if policy != "noeviction":
        log.warning("maxmemory-policy is not noeviction: set it before setting maxmemory")
    if info.get("aof_enabled") == "0":
        log.warning("Redis keeps no append-only file: a crash of Redis loses messages that were acknowledged")


def _parse_info(reply: bytes) -> dict[str, str]:
    lines = (line.partition(":") for line in reply.decode().splitlines())
    return {name: value for name, separator, value in lines if separator}
