"""What is told of a redis-server that runs and answers nothing: once, and once when it answers again."""

import logging
from contextlib import suppress
from pathlib import Path

log = logging.getLogger(__name__)

_SILENT_LOOKS = 2  # one may fall into a long command


class SilenceWatch:
    """Counts looks at one redis-server that brought no answer."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._silent_looks = 0

    def on_look(self, has_answered: bool, free_bytes: int) -> None:
        """A look has ended."""
        was_hung = self._silent_looks >= _SILENT_LOOKS
        self._silent_looks = 0 if has_answered else self._silent_looks + 1
        if self._silent_looks == _SILENT_LOOKS:
            about = {"redis_pid": self._pid, "state": state_of(self._pid), "free_bytes": free_bytes}
            log.error("redis-server runs and does not answer", extra=about)
        elif was_hung and has_answered:
            log.warning("redis-server answers again", extra={"redis_pid": self._pid})


def state_of(pid: int) -> str:
    """What a process is at, as far as the system tells: "waits for a disk" is a disk that hangs."""
    with suppress(OSError, IndexError):
        letter = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[0]
        return {"D": "waits for a disk", "T": "stopped", "R": "runs", "S": "sleeps"}.get(letter, letter)
    return "unknown"
