"""Commands that the tests start by a fork are like those that the interpreter starts."""

import os
import re
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support import fork_server
from tests.support.commands import OBSCURA
from tests.support.node_process import COMMAND, node_environ
from tests.support.processes import PROC, about
from tests.support.redis import RedisServer

pytestmark = [
    pytest.mark.processes,
    pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the interpreter starts all commands"),
]

STARTS = pytest.mark.parametrize("is_forked", [False, True], ids=["started", "forked"])


@pytest.fixture
def limited() -> Iterator[None]:
    """A limit that the process that forks was not started with."""
    before = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_CORE, before)


@contextmanager
def running(folder: Path, redis_url: str, *, is_forked: bool) -> Iterator[subprocess.Popen[bytes]]:
    """A node, as soon as it has said where it listens."""
    fork_server.is_enabled = is_forked
    environ = node_environ(redis_url=redis_url, jwt_secret="a secret of the tests that is long enough")
    with subprocess.Popen(
        [*COMMAND, "--data-dir", str(folder)],
        cwd=folder,
        env=environ | {"TZ": "Asia/Kathmandu"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        start_new_session=True,
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline().startswith(b"API on http://127.0.0.1:")
            assert process.stdout.readline().startswith(b"management on")
            yield process
        finally:
            process.kill()


def traits(pid: int) -> dict[str, object]:
    """What the system says of a process that its start decides."""
    status = dict(re.findall(r"^(PPid|Umask|SigBlk|SigIgn|SigCgt|NSpgid|NSsid):\t(.*)$", about(pid, "status"), re.M))
    own = {name: value == str(pid) for name, value in status.items() if name.startswith("NS")}
    return {
        **(status | own),
        "command": about(pid, "cmdline").rstrip("\0").split("\0"),
        "folder": os.readlink(PROC / str(pid) / "cwd"),
        "limits": about(pid, "limits"),
        "input": os.readlink(PROC / str(pid) / "fd/0"),
        "output": os.readlink(PROC / str(pid) / "fd/1").partition(":")[0],
        "errors": os.readlink(PROC / str(pid) / "fd/2"),
    }


@pytest.mark.usefixtures("limited")
def test_the_system_sees_no_difference(tmp_path: Path, redis_server: RedisServer) -> None:
    """Parent, session, signals, limits, directory, files and command line are those that the test gave."""
    with running(tmp_path, redis_server.url, is_forked=False) as started:
        expected = traits(started.pid)
    with running(tmp_path, redis_server.url, is_forked=True) as forked:
        assert traits(forked.pid) == expected
    assert expected["PPid"] == str(os.getpid())


@STARTS
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 0), (signal.SIGKILL, -9)])
def test_its_end_is_its_own(
    tmp_path: Path, redis_server: RedisServer, is_forked: bool, number: signal.Signals, code: int
) -> None:
    """A signal ends it, and its exit code comes back."""
    with running(tmp_path, redis_server.url, is_forked=is_forked) as process:
        process.send_signal(number)
        assert process.wait(30) == code


@STARTS
@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [(("--version",), 0, r"obscura [\d.]+\n"), (("sevre",), 2, ""), (("serve", "--port", "x"), 1, "")],
)
def test_what_it_says_and_its_exit_code_come_back(
    is_forked: bool, arguments: tuple[str, ...], code: int, said: str
) -> None:
    fork_server.is_enabled = is_forked
    done = subprocess.run([*OBSCURA, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == code
    assert re.fullmatch(said, done.stdout)
    assert (done.stderr == "") == (code == 0)
