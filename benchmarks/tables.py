"""Tables and figures of a Markdown page."""

from collections.abc import Iterable, Sequence
from typing import Any

QUICK_NOTE = "**This is a trial run of `script/measure --quick`: the figures mean nothing.**\n\n"


def table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "".join(f"| {' | '.join(map(str, cells))} |\n" for cells in lines)


def setup(found: dict[str, Any]) -> str:
    """On what, with what and when it was measured."""
    machine = found["machine"]
    libraries = ", ".join(f"{name} {number}" for name, number in machine["libraries"].items())
    return (
        f"Measured {found['at']} on {machine['processor']}, {machine['cpus']} CPUs, {machine['memory_gib']} GiB, "
        f"{machine['system']}; Python {machine['python']}, Redis {machine['redis']}, {libraries}. "
        f"The generator, the nodes and Redis shared these CPUs. The run took {found['took_secs'] / 60:.0f} minutes.\n"
    )


def size(count: float) -> str:
    """Bytes in a unit that leaves a short number."""
    for unit in ("bytes", "KiB", "MiB", "GiB", "TiB"):
        if count < 1024 or unit == "TiB":
            break
        count /= 1024
    return f"{count:,.0f} {unit}" if count >= 10 or unit == "bytes" else f"{count:.1f} {unit}"


def latencies(summary: dict[str, float]) -> list[str]:
    return [f"{summary[at]:,.2f}" for at in ("p50", "p90", "p99", "p99_9", "max")]
