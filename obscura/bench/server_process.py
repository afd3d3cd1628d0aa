"""What a server process on this machine costs: memory and processor time, from /proc."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from obscura.bench.errors import BenchError

_TICKS_PER_SEC = os.sysconf("SC_CLK_TCK")


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
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        raise BenchError(f"the server process {pid} is gone") from None
    found = re.search(r"VmRSS:\s+(\d+) kB", status)
    cpu_ticks = int(fields[11]) + int(fields[12])  # utime and stime, proc_pid_stat(5)
    return Usage(int(found[1]) if found else 0, cpu_ticks / _TICKS_PER_SEC)
