"""Metrics of Redis as the node sees it."""

import time
from collections.abc import Awaitable
from functools import cache
from typing import NamedTuple, TypeVar

from prometheus_client import Counter

from obscura.observability.fast_metrics import Series
from obscura.observability.metrics.declaration import Topic

T = TypeVar("T")

REDIS = Topic("Redis")

# The last is the time within which a request is refused while Redis is away.
REDIS_BOUNDS = (0.00025, 0.0005, 0.001, 0.0025, 0.01, 0.05, 0.25, 2)

REDIS_SECONDS = REDIS.histogram(
    "obscura_redis_operation_duration_seconds",
    "Until Redis had answered a script or a command, the wait for a connection included.",
    REDIS_BOUNDS,
    {"operation": ()},
    detail="`operation` is the name of the script in `lua/`, or of the command.",
    watch="all of them rise: Redis, its disk (`appendfsync`) or the network. One alone: large inboxes or many keys",
)
REDIS_ERRORS = REDIS.counter(
    "obscura_redis_errors",
    "Scripts and commands without an answer that counts.",
    {"operation": ()},
    watch="see the log of Redis; its memory may be full",
)
REDIS_CONNECTED = REDIS.gauge(
    "obscura_redis_connected", "Whether the command connection stands.", watch="0: Redis is away"
)
REDIS_RECONNECTS = REDIS.counter(
    "obscura_redis_reconnects",
    "Times the command connection was made again.",
    watch="each is a restart of Redis, a failover or a network fault",
)
REDIS_REQUIREMENTS = (
    "append_only_file",
    "cluster",
    "data",
    "eviction",
    "eviction_policy",
    "replicas",
    "role",
    "version",
)
REDIS_UNMET = REDIS.gauge(
    "obscura_redis_requirement_unmet",
    "Whether Redis was found not to meet a requirement when it was last looked at.",
    {"requirement": REDIS_REQUIREMENTS},
    detail="It is looked at when a connection is made, every 15 s, and for `/readyz`. With `cluster`, `data`, "
    "`eviction`, `role` and `version` unmet it is not used: every request is 503. The others are warnings.",
    watch="1: the log says what is wrong and what to do",
)
REDIS_REFUSALS = REDIS.counter(
    "obscura_redis_refusals",
    "Commands that Redis refused for a reason that passes.",
    {
        "reason": (
            *("BUSY", "CLUSTERDOWN", "LOADING", "MASTERDOWN", "MISCONF", "NOAUTH", "NOPERM", "NOREPLICAS", "OOM"),
            "READONLY",
        )
    },
    detail="`reason` is the first word of its error.",
    watch="`OOM`: its memory is full. `MISCONF`: its disk. `NOPERM`, `NOAUTH`: the relay's user lacks a right. "
    "`LOADING`, `READONLY`, `MASTERDOWN`, `CLUSTERDOWN`: a start or a failover. `BUSY`: somebody runs a script or "
    "command of their own. `NOREPLICAS`: `min-replicas-to-write`",
)
REDIS_REDIRECTIONS = REDIS.counter(
    "obscura_redis_redirections",
    "Commands that a master of a Cluster did not take, by why.",
    {"kind": ("ASK", "MOVED", "TRYAGAIN")},
    detail="`MOVED` sends them on to another master, `ASK` to where a slot is going, `TRYAGAIN` to the same one a "
    "moment later. Each is answered all the same. `CLUSTERDOWN` counts as a refusal, above.",
    watch="a reshard or a failover. Without one it should stand still: else servers do not agree on who owns what",
)
REDIS_SLOT_CHANGES = REDIS.counter(
    "obscura_redis_slot_changes",
    "Times that slots of a Cluster had changed owners.",
    detail="Each process counts those that it saw.",
    watch="a reshard or a failover",
)
REDIS_MASTER_SWITCHES = REDIS.counter(
    "obscura_redis_master_switches",
    "Times that Sentinel led to another master.",
    detail="Each process counts those that it saw.",
    watch="a failover; several in a row: Sentinels too quick for the network",
)
REDIS_COPIES_SHORT = REDIS.counter(
    "obscura_redis_copies_short",
    "Writes that too few replicas had in time.",
    detail="They were answered 503. It counts only with `OBSCURA_REDIS_WAIT_REPLICAS`.",
    watch="a replica is away or behind",
)
REDIS_SCRIPTS_LOADED = REDIS.counter(
    "obscura_redis_scripts_loaded",
    "Scripts sent whole since Redis did not have them.",
    watch="once for each script after a start of Redis, a failover or `SCRIPT FLUSH`; more often: somebody flushes",
)
REDIS_MEMORY_USED = REDIS.gauge(
    "obscura_redis_memory_used_ratio",
    "Memory Redis uses, of its maxmemory or else of its machine's.",
    detail="Of several masters it is the fullest.",
    watch="near 1 every message is refused: more memory, or find what fills it",
)
REDIS_CLOCK_SKEW = REDIS.gauge(
    "obscura_redis_clock_skew_seconds",
    "How far at least Redis's clock is from this machine's.",
    detail="It is measured every 15 s.",
    watch="above 1: NTP does not work on one of the two machines; above 60 `/readyz` says `degraded`",
)
EMBEDDED_RESTARTS = REDIS.counter(
    "obscura_embedded_redis_restarts",
    "Times the node's own redis-server ended by itself.",
    detail="It was started again.",
    watch="see `redis.log` in the data directory; mostly memory or disk",
)


class RedisSeries(NamedTuple):
    """The times and the errors of one script or command."""

    times: Series
    errors: Counter


@cache
def redis_series(operation: str) -> RedisSeries:
    """Return the series of a script or a command. Keep them where they are used often."""
    return RedisSeries(REDIS_SECONDS.labels(operation), REDIS_ERRORS.labels(operation))


async def timed(operation: str, call: Awaitable[T]) -> T:
    """Await a call to Redis and count it.

    Args:
        operation: The name of its script or command.

    Raises:
        Exception: What the call raises; counted too.
    """
    times, errors = redis_series(operation)
    started = time.perf_counter()
    try:
        return await call
    except Exception:
        errors.inc()
        raise
    finally:
        times.observe(time.perf_counter() - started)
