"""What a server process on this machine costs: memory, from /proc, and processor time. Of Linux."""

import re
import time
from dataclasses import dataclass
from pathlib import Path

from obscura.bench.errors import BenchError

_PROCESS_CLOCK = 2  # CPUCLOCK_SCHED, of all threads of a process


@dataclass(frozen=True, slots=True)
class Usage:
    rss_kib: int
    cpu_secs: float


def usage(pid: int) -> Usage:
    """Resident memory, and processor time since the process started.

    Raises:
        BenchError: There is no such process, or not any more.
    """
    try:
        status = Path(f"/proc/{pid}/status").read_text()
        cpu_secs = time.clock_gettime(_cpu_clock_of(pid))
    except OSError:
        raise BenchError(f"the server process {pid} is gone") from None
    found = re.search(r"VmRSS:\s+(\d+) kB", status)
    return Usage(int(found[1]) if found else 0, cpu_secs)


def _cpu_clock_of(pid: int) -> int:
    """What clock_getcpuclockid(3) returns: to the nanosecond, where /proc/PID/stat counts in 10 ms."""
    return ~pid << 3 | _PROCESS_CLOCK
