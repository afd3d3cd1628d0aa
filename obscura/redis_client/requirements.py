"""What the server at the other end must be like, checked at the start."""

import logging
from collections.abc import Mapping

from obscura.errors import StartupError
from obscura.redis_client.commands import CommandExecutor

log = logging.getLogger(__name__)

_MIN_VERSION = (6, 2)
_MIN_CLUSTER_VERSION = (7, 0)  # the first with sharded pub/sub
_KEEP_ALL = "noeviction"


async def check_servers(commands: CommandExecutor, replicas: int) -> None:
    """Refuse a Redis that cannot keep what it is given; warn of one that may lose it.

    Args:
        replicas: How many of each server are to have a copy of what may not be lost.

    Raises:
        StartupError: Too old, a replica, set to evict keys, or part of a Cluster that is not addressed as one.
        StoreUnavailable: No reply.
    """
    for master in commands.masters:
        info = parse_info(await master.call("INFO"))
        check_info(info)
        if commands.publish == "PUBLISH" and info.get("cluster_enabled") == "1":
            raise StartupError("Redis is part of a Cluster: its address begins with redis+cluster://")
        if int(info.get("connected_slaves", 0)) < replicas:
            log.warning(
                "fewer replicas than OBSCURA_REDIS_WAIT_REPLICAS: what needs copies is refused until they are there",
                extra={"connected": info["connected_slaves"], "needed": replicas},
            )


def check_info(info: Mapping[str, str]) -> None:
    """Judge a server by the fields of its INFO: a `StartupError` if it will not do, a warning if it may lose data."""
    version = info["redis_version"]
    if _numbers(version) < _MIN_VERSION:
        raise StartupError(f"Redis {version} is too old: 6.2 or later is needed")
    if info.get("cluster_enabled") == "1" and _numbers(version) < _MIN_CLUSTER_VERSION:
        raise StartupError(f"Redis {version} is too old for a Cluster: 7.0 or later is needed")
    if info.get("role", "master") != "master":
        raise StartupError("Redis at this address is a replica, which takes no writes: give the address of its master")
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


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:2])
