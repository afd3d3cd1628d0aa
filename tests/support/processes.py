"""Which processes there are, and which of them serves a connection. Of Linux."""

import re
from contextlib import suppress
from pathlib import Path

PROC = Path("/proc")


def children_of(pid: int) -> dict[int, str]:
    """The command lines of a process's children, by pid."""
    children = {}
    for status in PROC.glob("[0-9]*/status"):
        try:
            if re.search(rf"^PPid:\t{pid}$", status.read_text(), re.MULTILINE):
                children[int(status.parent.name)] = (status.parent / "cmdline").read_text().replace("\0", " ")
        except OSError:
            pass  # it has ended meanwhile
    return children


def descendants_of(pid: int) -> dict[int, str]:
    """The command lines of its children, of theirs, and so on, by pid."""
    found = children_of(pid)
    for child in list(found):
        found |= descendants_of(child)
    return found


def workers_of(pid: int) -> set[int]:
    """The workers of a supervisor."""
    return {child for child, command in children_of(pid).items() if "obscura.processes.worker" in command}


def about(pid: int, name: str) -> str:
    """One of the files about a process, like ``cmdline`` and ``environ``."""
    return (PROC / str(pid) / name).read_text()


def is_running(pid: int) -> bool:
    """Whether there is such a process that has not ended."""
    try:
        return not re.search(r"^State:\tZ", about(pid, "status"), re.MULTILINE)
    except (FileNotFoundError, ProcessLookupError):  # it ended before, or while it was read
        return False


def server_of(client_port: int, server_port: int, pids: set[int]) -> int | None:
    """Which process has the other end of a connection over 127.0.0.1; None: none of these yet."""
    ends = (_hex(server_port), _hex(client_port))
    for line in (PROC / "net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if tuple(end.partition(":")[2] for end in fields[1:3]) == ends:
            return next((pid for pid in pids if f"socket:[{fields[9]}]" in _open_files(pid)), None)
    return None


def _hex(port: int) -> str:
    return f"{port:04X}"


def _open_files(pid: int) -> set[str]:
    names = set()
    for link in (PROC / str(pid) / "fd").iterdir():
        with suppress(OSError):  # closed meanwhile
            names.add(str(link.readlink()))
    return names
