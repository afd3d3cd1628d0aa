"""Processes under measurement: a node with a fresh data directory, and the bare server."""

import re
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.node_process import ROOT, node_environ

_DEADLINE_SECS = 20.0


@dataclass(frozen=True, slots=True)
class Running:
    """A server under measurement. ``ready_secs`` is the time from its start to its first word."""

    pid: int
    port: int
    ready_secs: float
    data_dir: str = ""


@contextmanager
def node(checkout: Path = ROOT, **settings: object) -> Iterator[Running]:
    """A node of a checkout, on free ports with its own Redis; keyword arguments are settings.

    It runs with the Python of the checkout's ``.venv``, or with this one if it has none.
    """
    with tempfile.TemporaryDirectory(prefix="obscura-bench-") as folder:
        environ = node_environ(**{"data_dir": folder, "log_level": "warning"} | settings)
        started = time.monotonic()
        command = [_python_of(checkout), "-m", "obscura", "serve"]
        options = {"cwd": checkout, "env": environ, "stdout": subprocess.PIPE, "text": True}
        with _process(command, **options) as process:
            assert process.stdout is not None
            for line in process.stdout:
                if found := re.search(r"http://[\d.]+:(\d+)", line):
                    yield Running(process.pid, int(found[1]), time.monotonic() - started, folder)
                    return
            raise RuntimeError("the node did not start")


def _python_of(checkout: Path) -> str:
    own = checkout / ".venv/bin/python"
    return str(own) if own.exists() else sys.executable


@contextmanager
def bare_server() -> Iterator[Running]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    started = time.monotonic()
    with _process([sys.executable, "-m", "benchmarks.bare_server", str(port)]) as process:
        while time.monotonic() < started + _DEADLINE_SECS:
            try:
                socket.create_connection(("127.0.0.1", port)).close()
            except OSError:
                time.sleep(0.05)
            else:
                yield Running(process.pid, port, time.monotonic() - started)
                return
        raise RuntimeError("the bare server did not start")


@contextmanager
def _process(command: list[str], **options: object) -> Iterator[subprocess.Popen[str]]:
    process: subprocess.Popen[str] = subprocess.Popen(command, **options)  # type: ignore[call-overload]  # noqa: S603
    try:
        yield process
    finally:
        process.terminate()
        process.wait(_DEADLINE_SECS)
