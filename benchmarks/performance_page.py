"""docs/performance.md, from what the suite found."""

from statistics import median
from typing import Any

from benchmarks.tables import QUICK_NOTE, latencies, setup, size, table
from benchmarks.workers import CPUS_FOR_ALL

_HEADS = ("operation", "per second", "p50 ms", "p90 ms", "p99 ms", "p99.9 ms", "max ms")

_TEXT = """\
# Performance

{note}{setup}
Repeat it with one command, `script/measure`. What counts are the ratios: both sides of each were measured in the same
run, in turns, by the same generator, `obscura bench`. Absolute figures are of this machine on that day. Redis
synced its file each second (`appendfsync everysec`) where nothing else is said, messages had {message_bytes} bytes,
every answer was checked, and every message was accounted for: sent, answered 201, delivered and acked once.

## Targets

{targets}
## Sending

One node, {concurrency} connections, each with one POST at a time. The reference is an aiohttp handler that only
reads the body and answers 201, on the same loop. Rounds took turns; the ratio is that of the medians. With
`appendfsync always` Redis syncs before each answer, and the disk has its say.

{send}
![Throughput and latency of sending over time](send.svg)

## Relaying

Two nodes on one Redis; recipients are on either. Latency is from the start of the POST to the arrival at the
recipient's socket. The second run is an open loop at half of the maximum: messages are sent on time, and latency
counts from when each was to be sent.

{relay}
![Throughput and latency of relaying over time](relay.svg)

One node relayed {one_node:,.0f} messages a second, two {two_nodes:,.0f}: nodes, Redis and the generator shared
{cpus} CPUs.

## A second worker

The same load on a node with `OBSCURA_WORKERS=1` and with `OBSCURA_WORKERS=2`, in turns. {isolation}

{workers}
## A backlog

{pending:,} messages wait for each of {users} users, who connect at once, drain and ack. The reference is an aiohttp
socket that echoes frames of the same size.

{backlog}
## Everything else

One node, 16 operations at a time. Registering and logging in cost a password hash by design (argon2id).

{others}
![Throughput and latency of a mixed load over time](mixed.svg)

## Idle sockets

{sockets:,} sockets, each of its own account with its own session; reconnects at {reconnect_rate:,.0f} a second.

{idle}
## Growth

Processor time of the node and of Redis for each message, small and large in turns. A cost does not depend on who else
wants the machine, as a rate does.

{growth}
## Memory in Redis

`MEMORY USAGE` of all keys, names included, of accounts made over the API.

{memory}"""


def render(found: dict[str, Any]) -> str:
    """The page."""
    delivery, plan = found["delivery"], found["plan"]
    return _TEXT.format(
        note=QUICK_NOTE if found["is_quick"] else "",
        setup=setup(found),
        message_bytes=found["memory"]["message_bytes"],
        targets=_targets(found),
        concurrency=found["send"]["ours"][0]["options"]["concurrency"],
        send=_beside(found["send"], "messages/s", "obscura", "bare handler"),
        relay=table(
            ("load", *_HEADS[1:]),
            [
                _operation("maximum, 64 at a time", delivery["maximum"], "deliver"),
                _operation("half, open loop", delivery["half"], "deliver"),
            ],
        ),
        one_node=delivery["one_node"]["per_second"],
        two_nodes=delivery["maximum"]["per_second"],
        cpus=found["machine"]["cpus"],
        isolation=isolation(found["workers"], found["machine"]["cpus"]),
        workers=_workers(found["workers"]),
        pending=plan["pending"],
        users=found["backlog"]["ours"][0]["options"]["users"],
        backlog=_beside(found["backlog"], "frames/s", "obscura", "bare echo"),
        others=table(
            ("scenario", *_HEADS),
            [
                [name, *_operation(operation, one, operation)]
                for name, one in found["others"].items()
                for operation in one["operations"]
            ],
        ),
        sockets=plan["sockets"],
        reconnect_rate=found["idle"]["reconnect"]["options"]["rate_per_sec"],
        idle=_idle(found["idle"]),
        growth=_growth(found),
        memory=_memory(found["memory"]),
    )


def isolation(workers: dict[str, Any], cpus: int) -> str:
    """How Redis and the generator were kept out of the way of the workers."""
    if workers["share"] is not None:
        return (
            f"So that\n{cpus} CPUs leave Redis and the generator what they need, a control group held each worker to "
            f"{workers['share']:.0%} of one."
        )
    if can_show_scaling(workers, cpus):
        return f"There were\n{cpus} CPUs for workers, Redis and generator; nothing was pinned or held back."
    return (
        f"With {cpus}\nCPUs for workers, Redis and generator, and no control groups to hold them, it cannot show here."
    )


def can_show_scaling(workers: dict[str, Any], cpus: int) -> bool:
    """Whether a second worker found a core to work on."""
    return workers["share"] is not None or cpus >= CPUS_FOR_ALL


def _targets(found: dict[str, Any]) -> str:
    delivery, idle = found["delivery"], found["idle"]
    latency = delivery["half"]["operations"]["deliver"]["latency_ms"]
    workers, cpus = found["workers"], found["machine"]["cpus"]
    rows = [
        _at_least("sending, of a bare handler", 0.65, found["send"]["ratio"]),
        ["the same, each write on disk before its answer", "", f"{found['send']['synced_ratio']:.2f}", ""],
        _at_least("draining a backlog, of a bare echo", 0.4, found["backlog"]["ratio"]),
        _at_most("commands to Redis for a relayed and acked message", 2.0, delivery["commands_per_message"]),
        _at_most("end to end at half of the maximum, p50, ms", 3.0, latency["p50"]),
        _at_most("end to end at half of the maximum, p99, ms", 20.0, latency["p99"]),
        _at_most("memory of an idle socket, KiB", 20.0, idle["kib_per_socket"]),
        _at_most("memory of an idle socket in Redis, KiB", 1.0, idle["redis_bytes_per_socket"] / 1024),
        _at_most("failed reconnects", 0, sum(idle["reconnect"]["errors"].values())),
        *(_at_most(f"growth with {what}", 1.15, found[part]["ratio"]) for part, what in _GROWN.items()),
    ]
    scaling = _at_least("two workers over one", 1.7, workers["ratio"])
    rows.append(scaling if can_show_scaling(workers, cpus) else [*scaling[:3], f"not to be shown on {cpus} CPUs"])
    return table(("what", "target", "measured", "met"), rows)


_GROWN = {"pending": "pending messages", "accounts": "accounts", "sockets": "open sockets"}


def _at_least(what: str, target: float, measured: float) -> list[str]:
    return [what, f"at least {target:g}", f"{measured:.2f}", "yes" if measured >= target else "no"]


def _at_most(what: str, target: float, measured: float) -> list[str]:
    return [what, f"at most {target:g}", f"{measured:.2f}", "yes" if measured <= target else "no"]


def _operation(label: str, one: dict[str, Any], operation: str) -> list[str]:
    measured = one["operations"][operation]
    return [label, f"{measured['per_second']:,.0f}", *latencies(measured["latency_ms"])]


def _beside(pair: dict[str, Any], unit: str, ours: str, bare: str) -> str:
    rows = []
    for name, runs in ((ours, pair["ours"]), (bare, pair["bare"])):
        rates = [run["per_second"] for run in runs]
        busiest = max(share for run in runs for share in run["generator"]["cpu_shares"])
        rows.append([name, f"{median(rates):,.0f}", ", ".join(f"{rate:,.0f}" for rate in rates), f"{busiest:.0%}"])
    rows.append(["ratio", f"{pair['ratio']:.2f}", "", ""])
    if "synced" in pair:
        rates = [run["per_second"] for run in pair["synced"]]
        rounds = ", ".join(f"{rate:,.0f}" for rate in rates)
        rows.append([f"{ours}, `appendfsync always`", f"{median(rates):,.0f}", rounds, ""])
        rows.append(["ratio", f"{pair['synced_ratio']:.2f}", "", ""])
    return table(("server", unit, "rounds", "generator, of a core"), rows)


def _workers(workers: dict[str, Any]) -> str:
    rows = [
        [name, f"{median(workers[name]):,.0f}", ", ".join(f"{rate:,.0f}" for rate in workers[name])]
        for name in ("one", "two")
    ]
    return table(("workers", "messages/s", "rounds"), [*rows, ["ratio", f"{workers['ratio']:.2f}", ""]])


def _idle(idle: dict[str, Any]) -> str:
    connect = idle["reconnect"]["operations"]["connect"]
    rows = [
        ["resident memory of the node for a socket", f"{idle['kib_per_socket']:.1f} KiB"],
        ["the same of a bare aiohttp server", f"{idle['bare_kib_per_socket']:.1f} KiB"],
        ["memory of Redis for a socket", size(idle["redis_bytes_per_socket"])],
        ["reconnects a second", f"{connect['per_second']:,.0f}"],
        ["reconnect, p50 and p99", " ms, ".join(f"{connect['latency_ms'][at]:.1f}" for at in ("p50", "p99")) + " ms"],
        ["reconnects refused or timed out", sum(idle["reconnect"]["errors"].values())],
    ]
    return table(("what", "measured"), rows)


def _growth(found: dict[str, Any]) -> str:
    plan = found["plan"]
    sizes = {
        "pending": ("pending messages of each recipient", "1", "1,000"),
        "accounts": ("accounts", "1,000", f"{plan['accounts']:,}"),
        "sockets": ("open sockets", "10", f"{plan['sockets'] + 10:,}"),
    }
    rows = []
    for part, (what, few, many) in sizes.items():
        small, large = median(found[part]["small"]), median(found[part]["large"])
        rows.append([what, f"{small:.0f} µs at {few}", f"{large:.0f} µs at {many}", f"{found[part]['ratio']:.2f}"])
    return table(("more of", "cost", "cost", "ratio"), rows)


def _memory(memory: dict[str, Any]) -> str:
    rows = [
        ["an account, its name, one session and one one-time pre-key", size(memory["account_bytes"])],
        ["each further one-time pre-key", size(memory["pre_key_bytes"])],
        ["each further session", size(memory["session_bytes"])],
        [f"each pending message of {memory['message_bytes']} bytes", size(memory["pending_message_bytes"])],
    ]
    return table(("what", "memory"), rows)
