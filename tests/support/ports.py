"""Ports for servers that are told theirs: below those that the system gives away itself, and one process's alone."""

import fcntl
import socket
import tempfile
from collections.abc import Iterator
from functools import cache
from itertools import cycle
from pathlib import Path
from typing import TextIO

# The system gives away 32768 and above. A Redis Cluster's bus is 10,000 above its port, so that stays free, too.
_FIRST, _LAST = 10_240, 20_239
_SLICE = 400

_held: list[TextIO] = []


def free_port() -> int:
    """A port of 127.0.0.1 where nothing listens, and that no other process of the tests gives away."""
    for port in _ports():
        try:
            socket.create_server(("127.0.0.1", port)).close()
        except OSError:
            continue
        return port
    raise AssertionError("no port is free")


@cache
def _ports() -> Iterator[int]:
    """The ports of this process, round and round; a file says for as long as it lives that they are taken."""
    folder = Path(tempfile.gettempdir()) / "obscura-test-ports"
    folder.mkdir(exist_ok=True)
    for first in range(_FIRST, _LAST, _SLICE):
        file = (folder / str(first)).open("w")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            continue
        _held.append(file)
        return cycle(range(first, first + _SLICE))
    raise AssertionError("more processes run these tests than there are ports for")
