"""What the server at the other end must be like."""

import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from obscura.errors import StartupError

log = logging.getLogger(__name__)

_MIN_VERSION = (6, 2)
_MIN_CLUSTER_VERSION = (7, 0)  # the first with sharded pub/sub
_KEEP_ALL = "noeviction"


@dataclass(frozen=True, slots=True)
class Needs:
    """What this process needs of each server.

    Attributes:
        replicas: So many are to have a copy of what may not be lost.
        is_cluster: It is addressed as a Cluster.
    """

    replicas: int = 0
    is_cluster: bool = False


@dataclass(frozen=True, slots=True)
class Finding:
    """A requirement that a server does not meet.

    Attributes:
        requirement: Its name in the metrics.
        sentence: What is wrong and what to do, for the operator; it names no host.
        is_fatal: The server must not be used; else it may lose what it acknowledges.
    """

    requirement: str
    sentence: str
    is_fatal: bool = True


def findings_of(info: Mapping[str, str], needs: Needs) -> list[Finding]:
    """Judge a server by the fields of its INFO, those that refuse it first."""
    return sorted(_findings(info, needs), key=lambda finding: not finding.is_fatal)


def check_info(info: Mapping[str, str]) -> None:
    """Judge a server as at a start: a `StartupError` if it will not do, a warning if it may lose data."""
    for finding in findings_of(info, Needs(is_cluster=info.get("cluster_enabled") == "1")):
        if finding.is_fatal:
            raise StartupError(finding.sentence)
        log.warning(finding.sentence)


def parse_info(reply: bytes) -> dict[str, str]:
    """The fields of an INFO reply."""
    lines = (line.partition(":") for line in reply.decode(errors="replace").splitlines())
    return {name: value for name, separator, value in lines if separator}


def _findings(info: Mapping[str, str], needs: Needs) -> Iterator[Finding]:
    yield from _findings_of_kind(info, needs)
    policy = info.get("maxmemory_policy", _KEEP_ALL)
    if policy != _KEEP_ALL and info.get("maxmemory", "0") != "0":
        yield Finding(
            "eviction",
            f"Redis evicts keys when its memory is full (maxmemory-policy {policy}) and would lose "
            f"accounts and messages: set maxmemory-policy {_KEEP_ALL}",
        )
    elif policy != _KEEP_ALL:
        sentence = "maxmemory-policy is not noeviction: set it before setting maxmemory"
        yield Finding("eviction_policy", sentence, is_fatal=False)
    if info.get("aof_enabled") == "0":
        sentence = "Redis keeps no append-only file: a crash of Redis loses messages that were acknowledged"
        yield Finding("append_only_file", sentence, is_fatal=False)
    connected = int(info.get("connected_slaves", 0))
    if connected < needs.replicas:
        sentence = (
            "fewer replicas than OBSCURA_REDIS_WAIT_REPLICAS: what needs copies is refused until they are there"
            f" ({connected} of {needs.replicas})"
        )
        yield Finding("replicas", sentence, is_fatal=False)


def _findings_of_kind(info: Mapping[str, str], needs: Needs) -> Iterator[Finding]:
    version = info["redis_version"]
    is_in_cluster = info.get("cluster_enabled") == "1"
    if _numbers(version) < _MIN_VERSION:
        yield Finding("version", f"Redis {version} is too old: 6.2 or later is needed")
    elif is_in_cluster and _numbers(version) < _MIN_CLUSTER_VERSION:
        yield Finding("version", f"Redis {version} is too old for a Cluster: 7.0 or later is needed")
    if is_in_cluster and not needs.is_cluster:
        yield Finding("cluster", "Redis is part of a Cluster: its address begins with redis+cluster://")
    if info.get("role", "master") != "master":
        yield Finding(
            "role", "Redis at this address is a replica, which takes no writes: give the address of its master"
        )


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:2])
