"""The whole set: measures everything and writes docs/performance.md, docs/scaling.md and the plots.

Usage: python -m benchmarks.suite [--quick] [--docs docs] [--json FILE] [--from FILE]

It starts what it needs on free ports in temporary directories, and stops it. With --quick
all is so short that the figures mean nothing, which the pages say. --from writes the pages
from the JSON of an earlier run.
"""

import argparse
import json
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks import growth, memory, paths, performance_page, scaling_page, sockets, workers
from obscura.embedded_redis.binary import find_redis_server

_LIBRARIES = ("aiohttp", "uvloop", "hiredis", "redis", "hdrhistogram")


@dataclass(frozen=True, slots=True)
class Plan:
    """How long and how large; `FULL` ends in less than 15 minutes."""

    seconds: float
    rounds: int
    pending: int
    sockets: int
    accounts: int
    weighed: int


FULL = Plan(seconds=6, rounds=3, pending=1000, sockets=10_000, accounts=1_000_000, weighed=50)
QUICK = Plan(seconds=1, rounds=1, pending=50, sockets=300, accounts=20_000, weighed=2)


def measure(plan: Plan, docs: Path) -> dict[str, Any]:
    """Run all parts, one after the other."""
    reconnects_per_sec = plan.sockets // 10
    parts: dict[str, Callable[[], Any]] = {
        "send": lambda: paths.send(plan.seconds, plan.rounds, docs / "send.svg"),
        "delivery": lambda: paths.delivery(plan.seconds, docs / "relay.svg"),
        "backlog": lambda: paths.backlog(plan.seconds, plan.rounds, plan.pending),
        "workers": lambda: workers.scaling(plan.seconds, plan.rounds, machine()["cpus"]),
        "others": lambda: paths.others(plan.seconds, docs / "mixed.svg"),
        "idle": lambda: sockets.idle(plan.sockets, reconnects_per_sec),
        "memory": lambda: memory.weigh(plan.weighed),
        "pending": lambda: growth.pending(plan.seconds / 2, plan.rounds),
        "accounts": lambda: growth.accounts(plan.seconds / 2, plan.rounds, 1000, plan.accounts),
        "sockets": lambda: growth.sockets(plan.seconds / 2, plan.rounds, plan.sockets),
    }
    started = time.monotonic()
    found: dict[str, Any] = {"machine": machine(), "at": datetime.now(UTC).isoformat(timespec="seconds")}
    found |= {"plan": {name: getattr(plan, name) for name in Plan.__slots__}, "is_quick": plan is QUICK}
    for name, part in parts.items():
        print(f"{time.monotonic() - started:5.0f} s  {name}", file=sys.stderr, flush=True)
        found[name] = part()
    return found | {"took_secs": round(time.monotonic() - started)}


def machine() -> dict[str, Any]:
    """What the figures are of."""
    model = [line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")]
    memory_kib = next((int(line.split()[1]) for line in _lines("/proc/meminfo") if line.startswith("MemTotal")), 0)
    redis = subprocess.run([find_redis_server().path, "--version"], capture_output=True, text=True, check=True)  # noqa: S603
    return {
        "processor": model[0] if model else platform.processor() or platform.machine(),
        "cpus": len(model) or 1,
        "memory_gib": round(memory_kib / 2**20, 1),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "redis": redis.stdout.split("v=")[-1].split()[0],
        "libraries": {name: version(name) for name in _LIBRARIES},
    }


def _lines(file: str) -> list[str]:
    path = Path(file)
    return path.read_text().splitlines() if path.exists() else []


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="see whether it works; the figures mean nothing")
    parser.add_argument("--docs", type=Path, default=Path("docs"), help="where the pages and plots go (docs)")
    parser.add_argument("--json", type=Path, help="where all that was found goes, too")
    parser.add_argument("--from", dest="earlier", type=Path, help="write the pages from this, and measure nothing")
    options = parser.parse_args()
    options.docs.mkdir(exist_ok=True)
    if options.earlier:
        found = json.loads(options.earlier.read_text())
    else:
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        found = measure(QUICK if options.quick else FULL, options.docs)
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")
    (options.docs / "performance.md").write_text(performance_page.render(found))
    (options.docs / "scaling.md").write_text(scaling_page.render(found))
    print(f"wrote {options.docs}/performance.md and {options.docs}/scaling.md", file=sys.stderr)


if __name__ == "__main__":
    main()
