"""What the server at the other end must be like, checked at the start."""

import logging
from collections.abc import Mapping

from obscura.errors import StartupError
from obscura.store.connection import Connection

log = logging.getLogger(__name__)

_MIN_VERSION = (6, 2)
_KEEP_ALL = "noeviction"


async def check_server(connection: Connection) -> None:
    """Refuse a Redis that cannot keep what it is given; warn of one that may lose it.

    Raises:
        StartupError: Too old, or set to evict keys.
        StoreUnavailable: No reply.
    """
    check_info(parse_info(await connection.call("INFO")))


def check_info(info: Mapping[str, str]) -> None:
    """Judge a server by the fields of its INFO; raises what `check_server` raises."""
    version = info["redis_version"]
    if tuple(int(part) for part in version.split(".")[:2]) < _MIN_VERSION:
        raise StartupError(f"Redis {version} is too old: 6.2 or later is needed")
    policy = info.get("maxmemory_policy", _KEEP_ALL)
    if policy != _KEEP_ALL and info.get("maxmemory", "0") != "0":
        raise StartupError(
            f"Redis evicts keys when its memory is full (maxmemory-policy {policy}) and would lose "
            f"accounts and messages: set maxmemory-policy {_KEEP_ALL}"
        )
    if policy != _KEEP_ALL:
        log.warning("maxmemory-policy is not noeviction: set it before setting maxmemory")
    if info.get("aof_enabled") == "0":
        log.warning("Redis keeps no append-only file: a crash of Redis loses messages that were acknowledged")


def parse_info(reply: bytes) -> dict[str, str]:
    """The fields of an INFO reply."""
    lines = (line.partition(":") for line in reply.decode().splitlines())
    return {name: value for name, separator, value in lines if separator}
