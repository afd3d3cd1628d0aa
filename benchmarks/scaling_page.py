"""docs/scaling.md: where a relay ends, worked through from measured constants."""

from typing import Any

from benchmarks.model import HEADROOM, Constants, Habits, Limits, Needs, constants, first_limits, highest_rate, needs
from benchmarks.tables import QUICK_NOTE, setup, size, table

_STEPS = (100_000, 10_000_000, 1_000_000_000)

_TEXT = """\
# Scaling

{note}{setup}
`script/measure` measures the constants, `benchmarks/model.py` is the model, and this page is written from both.

## Constants

{constants}
## The model

- Nodes keep nothing between requests but sockets, so load divides evenly among them. A node is one process on a
  core of its own. It ends at {headroom:.0%} of that core at the peak, or at {node_sockets:,} sockets
  (`OBSCURA_MAX_SOCKETS`).
- Every key of an account is on one shard, and every script touches one account, so load and memory divide evenly
  among shards. A shard ends at {headroom:.0%} of a core, or at {shard_memory} of memory: past that a copy or a
  restart takes long.
- Users send {messages_per_day:g} messages a day each, {peak_factor:g} times as many in the busiest hour as in the
  mean. {online_share:.0%} have a socket open. Each has {pending_each:g} pending messages, {sessions_each:g}
  sessions and {pre_keys_each:g} one-time pre-keys.

One node and one Redis end here, the scarcest first:

{first}
## Checked

The highest rate that the model gives for two configurations, with 64 messages at a time, beside what was measured.
The constants come from another run, of one node with 32 at a time. Nodes, Redis and generator shared {cpus} CPUs,
so the model lets them.

{checked}
The model leaves out what a busy machine loses to itself (caches, switches between processes) and what it gains from
batches when more messages are under way.

## Worked through

{worked}
### 100 thousand users

What ends first is the {small_breaks}, at about {small_limit:,} users. More nodes are the answer: any number can
share one Redis behind a balancer (`config/haproxy.cfg`). One Redis is enough; a replica with Sentinel
(`redis+sentinel://`) and `OBSCURA_REDIS_WAIT_REPLICAS=1` keep what was answered when its machine dies. Attachments
leave the node's disk for a bucket as soon as there are two nodes (`OBSCURA_STORAGE_BUCKET`).

### 10 million users

One Redis breaks first, by its memory or its processor, whichever is scarcer above. A Cluster answers both
(`redis+cluster://`): {mid_shards:,} shards by the model, each with a replica. There are {mid_nodes:,} nodes: more
of them is a matter of more machines. The balancer carries {mid_sockets:,} sockets and {mid_bits}: several of them,
behind DNS or anycast. Each node holds two connections to each shard, one for commands and one for events:
{mid_connections:,} at each shard.

### 1 billion users

The mesh breaks first: {large_nodes:,} nodes and {large_shards:,} shards would mean {large_connections:,}
connections at each shard, past Redis's default of 10,000 clients; and a Redis Cluster is meant for no more than
about 1,000 masters, since all of them gossip with each other. No setting answers this. Cells do: several relays,
each with a Cluster, nodes and users of its own, about {cell_users:,} of them ({cells:,} cells). A router in front
sends a request about a user to the cell of that user. That is possible from outside, since every route but login
and registration names one user, by path or by token, and those two name a username. Obscura does not bring that
router.

What all nodes of a cell share sets its size: the list of ended sessions, which every node reads and keeps, and the
indexes of the janitors, each a single key on one shard.
"""


def render(found: dict[str, Any]) -> str:
    """The page."""
    cost, habits, limits = constants(found), Habits(), Limits()
    small, mid, large = (needs(users, cost, habits, limits) for users in _STEPS)
    first = first_limits(cost, habits, limits)
    cell_users = _cell(cost)
    return _TEXT.format(
        note=QUICK_NOTE if found["is_quick"] else "",
        setup=setup(found),
        constants=_constants(cost),
        headroom=HEADROOM,
        node_sockets=limits.node_sockets,
        shard_memory=size(limits.redis_bytes),
        messages_per_day=habits.messages_per_day,
        peak_factor=habits.peak_factor,
        online_share=habits.online_share,
        pending_each=habits.pending_each,
        sessions_each=habits.sessions_each,
        pre_keys_each=habits.pre_keys_each,
        first=table(("what ends", "users"), [(name, f"{users:,}") for name, users in first]),
        cpus=found["machine"]["cpus"],
        checked=_checked(found, cost),
        worked=_worked([small, mid, large]),
        small_breaks=first[0][0],
        small_limit=first[0][1],
        mid_shards=mid.shards,
        mid_nodes=mid.nodes,
        mid_sockets=mid.sockets,
        mid_bits=_bits(mid.client_bits_per_sec),
        mid_connections=2 * mid.nodes,
        large_nodes=large.nodes,
        large_shards=large.shards,
        large_connections=2 * large.nodes,
        cell_users=cell_users,
        cells=-(-_STEPS[-1] // cell_users),
    )


def _cell(cost: Constants) -> int:
    """Users whose relay has no more than 100 shards and 1,000 nodes, in steps of a million."""
    users = 1_000_000
    while (more := needs(users + 1_000_000, cost)).shards <= 100 and more.nodes <= 1000:
        users += 1_000_000
    return users


def _constants(cost: Constants) -> str:
    rows = [
        ["processor time of a node for a relayed and acked message", f"{cost.node_cpu_us:.0f} µs"],
        ["processor time of Redis for it", f"{cost.redis_cpu_us:.0f} µs"],
        ["processor time of the generator for it", f"{cost.generator_cpu_us:.0f} µs"],
        ["bytes between clients and nodes for it", size(cost.client_bytes)],
        ["bytes between nodes and Redis for it", size(cost.redis_bytes)],
        ["memory of a node for a socket", size(cost.socket_bytes)],
        ["memory of Redis for a socket", size(cost.socket_redis_bytes)],
        ["memory of Redis for an account with one session and one one-time pre-key", size(cost.account_bytes)],
        ["for a further one-time pre-key", size(cost.pre_key_bytes)],
        ["for a further session", size(cost.session_bytes)],
        ["for a pending message", size(cost.message_bytes)],
    ]
    return table(("what", "measured"), rows)


def _checked(found: dict[str, Any], cost: Constants) -> str:
    cpus, rows = found["machine"]["cpus"], []
    for nodes, part in ((1, "one_node"), (2, "maximum")):
        expected, measured = highest_rate(nodes, cpus, cost), found["delivery"][part]["per_second"]
        rows.append([f"{nodes} node(s)", f"{expected:,.0f}", f"{measured:,.0f}", f"{measured / expected:.2f}"])
    return table(("configuration", "model, messages/s", "measured", "measured over model"), rows)


def _worked(steps: list[Needs]) -> str:
    rows = [
        ["messages a second at the peak", *(f"{one.messages_per_sec:,.0f}" for one in steps)],
        ["open sockets", *(f"{one.sockets:,}" for one in steps)],
        ["nodes, for the processor", *(f"{one.nodes_for_cpu:,}" for one in steps)],
        ["nodes, for the sockets", *(f"{one.nodes_for_sockets:,}" for one in steps)],
        ["memory of all nodes for sockets", *(size(one.node_memory_bytes) for one in steps)],
        ["Redis shards, for the processor", *(f"{one.shards_for_cpu:,}" for one in steps)],
        ["Redis shards, for memory", *(f"{one.shards_for_memory:,}" for one in steps)],
        ["memory of Redis", *(size(one.redis_memory_bytes) for one in steps)],
        ["clients to nodes and back", *(_bits(one.client_bits_per_sec) for one in steps)],
        ["nodes to Redis and back", *(_bits(one.redis_bits_per_sec) for one in steps)],
    ]
    return table(("at the peak", *(f"{one.users:,} users" for one in steps)), rows)


def _bits(per_second: float) -> str:
    for unit in ("bit/s", "kbit/s", "Mbit/s", "Gbit/s"):
        if per_second < 1000 or unit == "Gbit/s":
            break
        per_second /= 1000
    return f"{per_second:,.1f} {unit}"
