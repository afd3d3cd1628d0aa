"""Which CPUs a process keeps to, where the platform can say."""

import os
import re


def allowed_cpus() -> frozenset[int]:
    """The CPUs this process may run on; all of them where there is no affinity (macOS)."""
    if hasattr(os, "sched_getaffinity"):
        return frozenset(os.sched_getaffinity(0))
    return frozenset(range(os.cpu_count() or 1))


def pin(cpus: frozenset[int]) -> None:
    os.sched_setaffinity(0, cpus)


def parse_cpus(text: str) -> frozenset[int]:
    """Read ``0,2-3`` as the kernel writes it.

    Raises:
        ValueError: That is no such list, or an empty one.
    """
    if not re.fullmatch(r"\d+(-\d+)?(,\d+(-\d+)?)*", text):
        raise ValueError(f"{text!r} is no list of CPUs")
    cpus: set[int] = set()
    for part in text.split(","):
        first, _, last = part.partition("-")
        cpus.update(range(int(first), int(last or first) + 1))
    if not cpus:
        raise ValueError(f"{text!r} lists no CPU")
    return frozenset(cpus)


def format_cpus(cpus: frozenset[int]) -> str:
    return ",".join(map(str, sorted(cpus)))
