"""What a second serving process of a node adds, where Redis and the generator leave both what they need."""

import time
from contextlib import nullcontext
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.generator import bench
from benchmarks.processes import Running
from benchmarks.quota import are_quotas_possible, limited
from benchmarks.relays import relay

CPUS_FOR_ALL = 5  # two workers, Redis, and a generator of two processes
SHARE = 0.2  # of a core for each worker, on a machine of fewer: Redis and the generator have the rest for themselves
_DEADLINE_SECS = 20.0


def scaling(seconds: float, rounds: int, cpus: int) -> dict[str, Any]:
    """Messages relayed by one worker and by two, in turns.

    Each worker has a share of a core on a machine that has not enough cores for all, if that is possible;
    ``share`` is None if it has as much as it can get.
    """
    share = SHARE if cpus < CPUS_FOR_ALL and are_quotas_possible() else None
    rates: dict[int, list[float]] = {1: [], 2: []}
    for _ in range(rounds):
        for count, found in rates.items():
            found.append(_rate(count, share, seconds))
    return {"share": share, "one": rates[1], "two": rates[2], "ratio": median(rates[2]) / median(rates[1])}


def _rate(count: int, share: float | None, seconds: float) -> float:
    with relay(workers=count) as one:
        (node,) = one.nodes
        pids = _workers_of(node, count) if count > 1 else [node.pid]
        with limited(share, pids) if share else nullcontext():
            load = ("--duration", seconds, "--warmup", 1, "--concurrency", 64, "--processes", 1)
            return float(bench("relay", *one.urls, *load)["per_second"])


def _workers_of(node: Running, count: int) -> list[int]:
    """The serving processes of a node. The supervisor beside them serves no client."""
    deadline = time.monotonic() + _DEADLINE_SECS
    while time.monotonic() < deadline:
        pids = [int(pid) for pid in Path(f"/proc/{node.pid}/task/{node.pid}/children").read_text().split()]
        workers = [pid for pid in pids if b"obscura" in Path(f"/proc/{pid}/cmdline").read_bytes()]
        if len(workers) == count:
            return workers
        time.sleep(0.05)
    raise RuntimeError("the workers of the node were not found")
