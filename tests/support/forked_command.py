"""The process that tests/support/fork_server.py has fork: it imports `obscura`, and becomes a command for each request.

It is never inside a loop, has no threads and no files but its socket, so that what is forked is as if newly started.
"""

import ctypes
import gc
import json
import multiprocessing.process
import os
import pkgutil
import platform
import resource
import runpy
import signal
import socket
import sys
import time
from importlib import import_module
from pathlib import Path
from typing import Any

from tests.support import cheap_passwords

_CLONE_PARENT = 0x8000  # the child's parent is the one of the process that forks
_SYS_CLONE = {"x86_64": 56, "aarch64": 220}[platform.machine()]
_NOT_IMPORTED = ("obscura.__main__", "obscura.observability.otlp", "obscura.blobs.s3")  # nor by a start with defaults


def import_everything() -> None:
    import obscura

    for module in pkgutil.walk_packages(obscura.__path__, "obscura."):
        if module.name not in _NOT_IMPORTED:
            import_module(module.name)
    import uvloop  # noqa: F401  which a node imports when it starts

    gc.collect()
    gc.freeze()


def next_command(requests: socket.socket) -> dict[str, Any] | None:
    """Fork for each request. Returns it in the child, with the files in place; in the server None, when all is done."""
    while True:
        text, files, _, _ = socket.recv_fds(requests, 1 << 20, 3)
        if not text:
            return None
        if pid := fork_for_the_parent():
            for file in files:
                os.close(file)
            requests.send(str(pid).encode())
            continue
        for number, file in enumerate(files):
            os.dup2(file, number)
        os.closerange(3, os.sysconf("SC_OPEN_MAX"))
        requests.detach()
        return dict(json.loads(text))


def fork_for_the_parent() -> int:
    """Like `os.fork`, but the child is one of this process's parent, which may wait for it."""
    python = ctypes.pythonapi
    python.PyOS_BeforeFork()
    pid = ctypes.PyDLL(None).syscall(_SYS_CLONE, _CLONE_PARENT | signal.SIGCHLD, 0, 0, 0, 0)
    if pid == 0:
        python.PyOS_AfterFork_Child()
    else:
        python.PyOS_AfterFork_Parent()
    assert pid >= 0, "no process could be forked"
    return int(pid)


def become(request: dict[str, Any]) -> None:
    """Take on what the command was given."""
    if request["is_session"]:
        os.setsid()
    os.chdir(request["folder"])
    for number, limits in request["limits"]:
        resource.setrlimit(number, limits)
    os.environ.clear()
    os.environ.update(request["environ"])
    time.tzset()
    sys.stdout.reconfigure(line_buffering=os.isatty(1))  # type: ignore[union-attr]
    sys.orig_argv = request["arguments"]
    sys.argv[1:] = request["arguments"][3:]
    sys.path[0] = multiprocessing.process.ORIGINAL_DIR = request["folder"]  # type: ignore[attr-defined]
    cheap_passwords.set_costs(*request["password_costs"])
    show_in_process_list(request["arguments"])


def show_in_process_list(arguments: list[str]) -> None:
    """Write the command's arguments where the system has those of this process; too long ones are cut."""
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    start, end = int(fields[45]), int(fields[46])  # 48 and 49 in proc(5), which counts from the process id
    line = b"".join(os.fsencode(word) + b"\0" for word in arguments)[: end - start - 1]
    ctypes.memset(start, 0, end - start)
    ctypes.memmove(start, line, len(line))


if __name__ == "__main__":
    import_everything()
    command = next_command(socket.socket(fileno=int(sys.argv[1])))
    if command is not None:
        become(command)
        runpy.run_module("obscura", run_name="__main__", alter_sys=True)
