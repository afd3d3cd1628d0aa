"""Starts `python -m obscura` in a twentieth of the time: by a fork of a process that has imported everything.

What a test starts is a child of the test's process as ever, with the arguments, environment, directory, limits and
files that it was given; it has done its imports before, and that is all. The mark `real_start` has the commands of a
test started by the interpreter; so are, always, those of other programs, and the workers of a node.
"""

import atexit
import inspect
import json
import os
import platform
import resource
import socket
import subprocess
import sys
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from tests.support import cheap_passwords

_MACHINES = ("x86_64", "aarch64")  # Linux alone can give a child to its parent's parent
_COMMAND = [sys.executable, "-m", "obscura"]
# What an interpreter and the C library look at only when they start.
_READ_AT_START = ("PYTHON", "LD_", "LC_", "LANG", "MALLOC_", "GLIBC_")
_LIMITS = [getattr(resource, name) for name in dir(resource) if name.startswith("RLIMIT_")]

is_enabled = True

_start_by_interpreter = subprocess.Popen._execute_child  # type: ignore[attr-defined]
_parameters = inspect.signature(_start_by_interpreter)


def install() -> None:
    """Have this process start its commands so."""
    if sys.platform == "linux" and platform.machine() in _MACHINES:
        subprocess.Popen._execute_child = _execute_child  # type: ignore[attr-defined]


class _Server:
    """The process that forks (tests/support/forked_command.py); it ends with this one."""

    def __init__(self) -> None:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                # The last word leaves room for the command lines that `ps` and tests are to see.
                [sys.executable, "-m", "tests.support.forked_command", str(theirs.fileno()), "-" * 8_000],
                cwd=Path(__file__).parents[2],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
            )
        atexit.register(self._end)

    def start(self, request: Mapping[str, Any], files: Iterable[int]) -> int:
        """Fork a command, and return its id."""
        socket.send_fds(self._socket, [json.dumps(request).encode()], list(files))
        answer = self._socket.recv(64)
        assert answer, "the process that forks has ended"
        return int(answer)

    def _end(self) -> None:
        self._socket.close()
        self._process.wait()


def _execute_child(self: Any, *given: Any) -> None:
    """In place of `subprocess.Popen._execute_child`."""
    asked = _parameters.bind(self, *given).arguments
    environ = os.environ if asked["env"] is None else asked["env"]
    read_at_start = _read_at_start(environ)
    if not (is_enabled and _is_plain(asked) and read_at_start == _read_at_start(os.environ)):
        _start_by_interpreter(self, *given)
        return
    request = {
        "password_costs": cheap_passwords.costs(),
        "arguments": list(map(os.fspath, asked["args"])),
        "environ": {os.fsdecode(name): os.fsdecode(value) for name, value in environ.items()},
        "folder": os.fspath(asked["cwd"] or os.getcwd()),
        "limits": [(number, resource.getrlimit(number)) for number in _LIMITS],
        "is_session": asked["start_new_session"],
    }
    ends = (asked["p2cread"], asked["c2pwrite"], asked["errwrite"])
    self.pid = _server_of(read_at_start).start(
        request, [number if end == -1 else end for number, end in enumerate(ends)]
    )
    self._child_created = True
    self._close_pipe_fds(*(asked[f"{pipe}{end}"] for pipe in ("p2c", "c2p", "err") for end in ("read", "write")))


def _is_plain(asked: Mapping[str, Any]) -> bool:
    """Whether a start is `python -m obscura`, and wants nothing that a fork cannot give."""
    args = asked["args"]
    if isinstance(args, (str, bytes, os.PathLike)) or list(map(os.fspath, args))[: len(_COMMAND)] != _COMMAND:
        return False
    unusual = ("executable", "preexec_fn", "pass_fds", "shell", "gid", "gids", "uid")
    return asked["close_fds"] and not any(asked[name] for name in unusual) and asked["umask"] == -1


@cache
def _server_of(_read_at_start: frozenset[tuple[str, str]]) -> _Server:
    """The one that was started with these variables, which are those of the tests' process at this moment."""
    return _Server()


def _read_at_start(environ: Mapping[Any, Any]) -> frozenset[tuple[str, str]]:
    pairs = ((os.fsdecode(name), os.fsdecode(value)) for name, value in environ.items())
    return frozenset(pair for pair in pairs if pair[0].startswith(_READ_AT_START))
