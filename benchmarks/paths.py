"""The send path and the delivery path, beside the bare servers, in turns: the machine's speed drifts."""

import re
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.generator import Found, bench
from benchmarks.processes import bare_server
from benchmarks.relays import Relay, relay

_MANY_SESSIONS = 1_000_000
_LUA = Path(__file__).parents[1] / "lua"


def send(seconds: float, rounds: int, plot: Path) -> dict[str, Any]:
    """POST to 201 on one node, and the same of a handler that only reads the body.

    And of a node whose Redis syncs its file before each answer: that is the disk's speed as much as ours.
    """
    ours, synced, bare = list[Found](), list[Found](), list[Found]()
    load = ("--duration", seconds, "--warmup", 1, "--processes", 1)
    with relay() as one, relay(appendfsync="always") as careful, bare_server() as reference:
        for _ in range(rounds):
            bare.append(bench("send", "--reference", "--url", f"http://127.0.0.1:{reference.port}", *load))
            ours.append(bench("send", *one.urls, *one.pids, *load, "--plot", plot))
            synced.append(bench("send", *careful.urls, *careful.pids, *load))
    return _beside(ours, bare) | {"synced": synced, "synced_ratio": _beside(synced, bare)["ratio"]}


def backlog(seconds: float, rounds: int, pending: int) -> dict[str, Any]:
    """Full inboxes drained from one node, and frames of the same size echoed by a bare server."""
    ours, bare = list[Found](), list[Found]()
    with relay() as one, bare_server() as reference:
        load = ("--duration", seconds, "--warmup", 1, "--processes", 1)
        for _ in range(rounds):
            bare.append(bench("echo", "--reference", "--url", f"http://127.0.0.1:{reference.port}", *load))
            ours.append(bench("backlog", *one.urls, *one.pids, "--pending", pending, "--processes", 1))
    return _beside(ours, bare)


def delivery(seconds: float, plot: Path) -> dict[str, Any]:
    """Two nodes at their maximum, then at half of it: latency from end to end, and commands to Redis.

    And one node, twice: at its maximum, and with fewer messages at a time, for the constants of the model.
    """
    with relay(nodes=2) as two:
        highest = bench("relay", *two.urls, *two.pids, "--duration", seconds, "--concurrency", 64)
        commands, network_bytes = _commands(two), _network_bytes(two)
        half = ("--rate", highest["per_second"] / 2, "--concurrency", 256, "--duration", 2 * seconds, "--plot", plot)
        found = bench("relay", *two.urls, *two.pids, *half)
        sent = found["messages"]["sent"]
        commands, network_bytes = _commands(two) - commands, _network_bytes(two) - network_bytes
    with relay() as one:
        alone = bench("relay", *one.urls, *one.pids, "--duration", seconds, "--concurrency", 64)
        steady = bench("relay", *one.urls, *one.pids, "--duration", seconds, "--concurrency", 32)
    return {
        "maximum": highest,
        "half": found,
        "one_node": alone,
        "steady": steady,
        "commands_per_message": commands / sent,
        "redis_network_bytes_per_message": network_bytes / sent,
    }


def others(seconds: float, plot: Path) -> dict[str, Any]:
    """What else clients do, on one node, where the same few users log in far more often than people do."""
    with relay(max_sessions_per_account=_MANY_SESSIONS) as one:
        load = (*one.urls, *one.pids, "--duration", seconds, "--concurrency", 16)
        found = {name: bench(name, *load) for name in ("bundles", "login", "attachments")}
        return found | {"mixed": bench("mixed", *load, "--plot", plot)}


def _beside(ours: list[Found], bare: list[Found]) -> dict[str, Any]:
    ratio = median(found["per_second"] for found in ours) / median(found["per_second"] for found in bare)
    return {"ours": ours, "bare": bare, "ratio": ratio}


def _commands(of: Relay) -> int:
    """Commands that clients have sent to Redis so far; what a script calls is part of the script.

    INFO counts both alike, so all that some script calls is left out; a node itself sends
    none of these but now and then.
    """
    in_scripts = {
        name.lower() for file in _LUA.glob("*.lua") for name in re.findall(r"redis\.call\('(\w+)'", file.read_text())
    } | {"publish", "spublish", "info"}
    with of.redis.client as client:
        stats: dict[str, Any] = client.info("commandstats")
    sent = {name: int(found["calls"]) for name, found in stats.items() if _command(name) not in in_scripts}
    return sum(sent.values())


def _network_bytes(of: Relay) -> int:
    """Bytes into and out of Redis so far."""
    with of.redis.client as client:
        stats = client.info("stats")
    return int(stats["total_net_input_bytes"]) + int(stats["total_net_output_bytes"])


def _command(name: str) -> str:
    """``config`` of ``cmdstat_config|get``."""
    return name.removeprefix("cmdstat_").partition("|")[0]
