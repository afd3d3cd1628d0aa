"""How much of everything a relay of a given size needs, from constants that were measured on one machine."""

from dataclasses import dataclass
from math import ceil
from typing import Any

_SECS_PER_DAY = 86_400
HEADROOM = 0.6  # of a core at the peak hour: the rest is for bursts, and for the load of a node that is gone
_GIB = 2**30


@dataclass(frozen=True, slots=True)
class Constants:
    """What one of everything costs."""

    node_cpu_us: float  # of a node, for each relayed message
    redis_cpu_us: float  # of Redis, for each relayed message
    generator_cpu_us: float  # of the generator, for each: it shares the machine when the model is checked
    client_bytes: float  # between clients and nodes, for each relayed message
    redis_bytes: float  # between nodes and Redis, for each relayed message
    socket_bytes: float  # of a node
    socket_redis_bytes: float
    account_bytes: float
    pre_key_bytes: float
    session_bytes: float
    message_bytes: float  # pending


@dataclass(frozen=True, slots=True)
class Habits:
    """What users do; the defaults are those of a busy messenger."""

    messages_per_day: float = 40
    peak_factor: float = 3  # of the busiest hour over the mean
    online_share: float = 0.2  # at the peak, with an open socket
    pending_each: float = 5
    sessions_each: float = 1.5
    pre_keys_each: float = 100


@dataclass(frozen=True, slots=True)
class Limits:
    """How much one of each part is given."""

    node_sockets: int = 20_000  # OBSCURA_MAX_SOCKETS
    redis_bytes: float = 25 * _GIB  # of a shard: more takes long to load, to copy and to fork


@dataclass(frozen=True, slots=True)
class Needs:
    """What a number of users takes, at the peak. A node is one process on a core of its own."""

    users: int
    messages_per_sec: float
    sockets: int
    nodes_for_cpu: int
    nodes_for_sockets: int
    shards_for_cpu: int
    shards_for_memory: int
    redis_memory_bytes: float
    node_memory_bytes: float  # of all nodes, for sockets
    client_bits_per_sec: float
    redis_bits_per_sec: float

    @property
    def nodes(self) -> int:
        return max(self.nodes_for_cpu, self.nodes_for_sockets)

    @property
    def shards(self) -> int:
        return max(self.shards_for_cpu, self.shards_for_memory)


def constants(found: dict[str, Any]) -> Constants:
    """Take them from what the suite found; the costs are those of one busy node with 32 messages at a time."""
    steady, idle, memory = found["delivery"]["steady"], found["idle"], found["memory"]
    sent = steady["messages"]["sent"]
    *nodes, redis = (server["cpu_secs"] for server in steady["servers"])
    load_secs = steady["options"]["warmup_secs"] + steady["duration_secs"]
    return Constants(
        node_cpu_us=sum(nodes) / sent * 1e6,
        redis_cpu_us=redis / sent * 1e6,
        generator_cpu_us=sum(steady["generator"]["cpu_shares"]) * load_secs / sent * 1e6,
        client_bytes=(steady["bytes"]["sent"] + steady["bytes"]["received"]) / sent,
        redis_bytes=found["delivery"]["redis_network_bytes_per_message"],
        socket_bytes=idle["kib_per_socket"] * 1024,
        socket_redis_bytes=idle["redis_bytes_per_socket"],
        account_bytes=memory["account_bytes"],
        pre_key_bytes=memory["pre_key_bytes"],
        session_bytes=memory["session_bytes"],
        message_bytes=memory["pending_message_bytes"],
    )


def needs(users: int, cost: Constants, habits: Habits = Habits(), limits: Limits = Limits()) -> Needs:
    """What ``users`` take."""
    rate = users * habits.messages_per_day / _SECS_PER_DAY * habits.peak_factor
    sockets = ceil(users * habits.online_share)
    each = (
        cost.account_bytes
        + habits.pre_keys_each * cost.pre_key_bytes
        + (habits.sessions_each - 1) * cost.session_bytes
        + habits.pending_each * cost.message_bytes
    )
    memory_bytes = users * each + sockets * cost.socket_redis_bytes
    return Needs(
        users=users,
        messages_per_sec=rate,
        sockets=sockets,
        nodes_for_cpu=max(1, ceil(rate * cost.node_cpu_us / 1e6 / HEADROOM)),
        nodes_for_sockets=max(1, ceil(sockets / limits.node_sockets)),
        shards_for_cpu=max(1, ceil(rate * cost.redis_cpu_us / 1e6 / HEADROOM)),
        shards_for_memory=max(1, ceil(memory_bytes / limits.redis_bytes)),
        redis_memory_bytes=memory_bytes,
        node_memory_bytes=sockets * cost.socket_bytes,
        client_bits_per_sec=rate * cost.client_bytes * 8,
        redis_bits_per_sec=rate * cost.redis_bytes * 8,
    )


def first_limits(cost: Constants, habits: Habits = Habits(), limits: Limits = Limits()) -> list[tuple[str, int]]:
    """Up to how many users one node and one Redis do, for each thing that can run out; the first to do so first."""
    of = needs(1_000_000, cost, habits, limits)
    used = {
        "number of sockets of the node": of.sockets / limits.node_sockets,
        "processor of the node": of.messages_per_sec * cost.node_cpu_us / 1e6 / HEADROOM,
        "processor of Redis": of.messages_per_sec * cost.redis_cpu_us / 1e6 / HEADROOM,
        "memory of Redis": of.redis_memory_bytes / limits.redis_bytes,
    }
    return sorted(((name, int(1_000_000 / share)) for name, share in used.items()), key=lambda one: one[1])


def highest_rate(nodes: int, cpus: int, cost: Constants) -> float:
    """Messages a second that ``nodes`` relay at most, with Redis and the generator on the same ``cpus``.

    The scarcest decides: the nodes, Redis, or the processors that all of them share.
    """
    together = cost.node_cpu_us + cost.redis_cpu_us + cost.generator_cpu_us
    return 1e6 * min(nodes / cost.node_cpu_us, 1 / cost.redis_cpu_us, cpus / together)
