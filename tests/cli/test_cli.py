"""The `obscura` command as an operator meets it: its own process, its own Redis, signals and exit codes."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from obscura.data_dir import lock_file
from obscura.settings.model import SETTINGS

pytestmark = pytest.mark.processes

DEADLINE_SECS = 40.0
SECRET = "a secret of the tests that is long enough"
OBSCURA = (sys.executable, "-m", "obscura")
SCRIPT = (str(Path(sys.executable).with_name("obscura")),)


def eventually(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_SECS
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.01)


class Command:
    """A run of the command, with nothing configured but free ports and a directory of its own."""

    def __init__(self, folder: Path, *arguments: str, program: tuple[str, ...] = OBSCURA, **environ: str) -> None:
        self._output, self._errors = folder / "stdout", folder / "stderr"
        ours = ("OBSCURA_", "PYTHONUNBUFFERED")  # what the command must not depend on
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
        ports = {"OBSCURA_PORT": "0", "OBSCURA_MGMT_PORT": "0", "OBSCURA_HOST": "127.0.0.1"}
        with self._output.open("wb") as stdout, self._errors.open("wb") as stderr:
            self.process = subprocess.Popen(
                [*program, *arguments],
                cwd=folder,
                env=inherited | ports | environ,
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                start_new_session=True,
            )

    @property
    def output(self) -> str:
        return self._output.read_text()

    @property
    def errors(self) -> str:
        return self._errors.read_text()

    def until_started(self) -> "Command":
        """Wait for the last of the lines that tell of a start."""
        eventually(lambda: "redis-cli" in self.output or self.process.poll() is not None)
        assert self.process.poll() is None, self.errors
        return self

    def exit_code(self) -> int:
        return self.process.wait(DEADLINE_SECS)

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal and return the exit code; of a command that has ended, its exit code."""
        self.process.send_signal(number)
        return self.exit_code()

    def refusal(self) -> str:
        """Wait for the command to refuse, and return its one sentence."""
        assert self.exit_code() == 1
        assert "Traceback" not in self.errors
        said = self.errors.splitlines()
        assert [line.startswith("obscura: ") for line in said] == [True], self.errors
        return said[0].removeprefix("obscura: ")

    def port(self, what: str) -> int:
        found = re.search(rf"^{what} on http://127\.0\.0\.1:(\d+)$", self.output, re.MULTILINE)
        assert found, self.output
        return int(found[1])


Run = Callable[..., Command]

several = pytest.mark.parametrize("workers", ["1", "2"])
"""Runs a test with a node of one process and with one of two."""


@pytest.fixture
def folder() -> Iterator[Path]:
    """Where the commands of a test run; its path is short enough for a socket everywhere."""
    with tempfile.TemporaryDirectory(prefix="obscura-", dir="/tmp") as folder:
        yield Path(folder)


@pytest.fixture
def run(folder: Path) -> Iterator[Run]:
    """Run the command; whatever still runs at the end of the test is stopped."""
    commands: list[Command] = []

    def run(*arguments: str, **options: str) -> Command:
        own = folder / f"run-{len(commands)}"
        own.mkdir()
        options.setdefault("OBSCURA_DATA_DIR", str(data_dir(folder)))
        commands.append(Command(own, *arguments, **options))
        return commands[-1]

    yield run
    for command in commands:
        command.stop()
    if data_dir(folder).exists():
        eventually(lambda: not redis_runs(folder))


def data_dir(folder: Path) -> Path:
    return folder / "data"


def redis_of(folder: Path) -> redis.Redis:
    return redis.Redis(unix_socket_path=str(data_dir(folder) / "redis.sock"), decode_responses=True)


def redis_pid(folder: Path) -> int:
    with redis_of(folder) as client:
        return int(client.info("server")["process_id"])


def redis_pid_or_none(folder: Path) -> int | None:
    try:
        return redis_pid(folder)
    except redis.RedisError:
        return None


def redis_runs(folder: Path) -> bool:
    """Whether there is a redis-server in the directory, or a node that could start one."""
    lock = lock_file(data_dir(folder) / "redis.lock")
    if lock is not None:
        os.close(lock)
    return lock is None


def is_listening(port: int) -> bool:
    with socket.socket() as connection:
        return connection.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.real_start
def test_it_starts_with_nothing_configured(folder: Path, run: Run) -> None:
    """A few lines say where it listens, where the data is, and how to look inside."""
    command = run("serve", OBSCURA_DATA_DIR="").until_started()
    data = folder / "run-0" / "obscura-data"
    assert is_listening(command.port("API"))
    assert is_listening(command.port("management"))
    assert str(data) in command.output
    assert f"redis-cli -s {data}/redis.sock" in command.output
    assert len(command.output.splitlines()) <= 6
    assert command.stop() == 0


@pytest.mark.parametrize(("host", "workers"), [("::", "2"), ("127.0.0.1,::1", "1")])
def test_it_listens_on_both_families(run: Run, host: str, workers: str) -> None:
    """Both ports, and the announcement has URLs that can be copied."""
    command = run("serve", OBSCURA_HOST=host, OBSCURA_WORKERS=workers).until_started()
    for what in ("API", "management"):
        found = re.search(rf"^{what} on (.*)$", command.output, re.MULTILINE)
        assert found
        urls = [re.fullmatch(r"http://(\[::1?\]|127\.0\.0\.1):(\d+)", url) for url in found[1].split(" and ")]
        assert all(urls), found[1]
        (port,) = {int(url[2]) for url in urls if url}
        assert is_listening(port)
        socket.create_connection(("::1", port)).close()
    assert command.stop() == 0


@several
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_stops_it_cleanly(folder: Path, run: Run, number: signal.Signals, workers: str) -> None:
    """Exit code 0, nothing on the socket, no redis-server left."""
    assert run("serve", OBSCURA_WORKERS=workers).until_started().stop(number) == 0
    assert not redis_runs(folder)
    assert not (data_dir(folder) / "redis.sock").exists()


@several
@pytest.mark.real_start
def test_ctrl_c_goes_to_the_node_alone(folder: Path, run: Run, workers: str) -> None:
    """A terminal signals the whole process group; Redis does not end before the node has stopped."""
    command = run("serve", OBSCURA_WORKERS=workers).until_started()
    assert os.getpgid(redis_pid(folder)) != os.getpgid(command.process.pid)
    os.killpg(command.process.pid, signal.SIGINT)
    assert command.exit_code() == 0
    assert not redis_runs(folder)


@several
@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2])
def test_no_other_signal_ends_a_node(run: Run, number: signal.Signals, workers: str) -> None:
    """A terminal that goes or a tool that rotates logs is no reason to end, with one process as with several."""
    command = run("serve", OBSCURA_WORKERS=workers).until_started()
    os.killpg(command.process.pid, number)
    assert is_listening(command.port("API"))
    assert command.process.poll() is None
    assert command.stop() == 0


@several
def test_a_data_directory_may_have_any_name(folder: Path, run: Run, workers: str) -> None:
    """One that is not UTF-8 too: the line that tells how to look inside can be copied, and inspect finds it."""
    data = folder / os.fsdecode(b"donn\xe9es of it's")
    command = run("serve", OBSCURA_DATA_DIR=str(data), OBSCURA_WORKERS=workers).until_started()
    line = re.search(r"^look inside: (.*)$", command.output, re.MULTILINE)
    assert line
    said = subprocess.run(["bash", "-c", f"{line[1]} PING"], capture_output=True, check=True)
    assert said.stdout == b"PONG\n"
    asked = run("inspect", "nodes", "--json", OBSCURA_DATA_DIR=str(data))
    assert asked.exit_code() == 0, asked.errors
    assert len(json.loads(asked.output)) == int(workers)
    assert command.stop() == 0


@several
def test_a_second_signal_forces_the_stop(folder: Path, run: Run, workers: str) -> None:
    """With a request that never ends, the second signal ends the wait: exit code 1, and no redis-server left."""
    command = run("serve", OBSCURA_WORKERS=workers, OBSCURA_SHUTDOWN_TIMEOUT_SECS="300").until_started()
    port = command.port("API")
    with socket.create_connection(("127.0.0.1", port)) as request:
        request.sendall(b"POST /v1/users HTTP/1.1\r\nHost: relay\r\nContent-Length: 10\r\n\r\n")
        command.process.send_signal(signal.SIGTERM)
        eventually(lambda: not is_listening(port))
        assert command.process.poll() is None
        assert command.stop() == 1
    assert not redis_runs(folder)


def test_a_second_start_finds_everything(folder: Path, run: Run) -> None:
    """Data and JWT secret outlive a stop."""
    first = run("serve").until_started()
    with redis_of(folder) as client:
        client.set("name", "value")
    secret = (data_dir(folder) / "jwt_secret").read_text()
    assert first.stop() == 0
    run("serve").until_started()
    with redis_of(folder) as client:
        assert client.get("name") == "value"
    assert (data_dir(folder) / "jwt_secret").read_text() == secret


@several
def test_a_killed_node_leaves_no_redis_behind(folder: Path, run: Run, workers: str) -> None:
    """After kill -9 of the node its redis-server ends too, and the next start finds the data."""
    command = run("serve", OBSCURA_WORKERS=workers).until_started()
    with redis_of(folder) as client:
        client.set("name", "value")
    command.process.kill()
    if sys.platform == "linux":  # elsewhere the next start ends it
        eventually(lambda: not redis_runs(folder))
    run("serve", OBSCURA_WORKERS=workers).until_started()
    with redis_of(folder) as client:
        assert client.get("name") == "value"


def test_a_stale_socket_does_not_matter(folder: Path, run: Run) -> None:
    """After kill -9 of the node and of its Redis the socket is still there; the next start replaces it."""
    command = run("serve").until_started()
    with redis_of(folder) as client:
        client.set("name", "value")
    pid = redis_pid(folder)
    os.kill(pid, signal.SIGSTOP)  # lest it tidies up when the node goes
    command.process.kill()
    command.process.wait()
    assert redis_runs(folder)
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: not redis_runs(folder))
    assert (data_dir(folder) / "redis.sock").is_socket()
    run("serve").until_started()
    with redis_of(folder) as client:
        assert client.get("name") == "value"


def test_a_killed_redis_does_not_stop_the_node(folder: Path, run: Run) -> None:
    """It comes back, and the command goes on."""
    command = run("serve").until_started()
    killed = redis_pid(folder)
    os.kill(killed, signal.SIGKILL)
    eventually(lambda: redis_pid_or_none(folder) not in {None, killed})
    assert command.stop() == 0
    assert not redis_runs(folder)


@several
@pytest.mark.parametrize("name", ["OBSCURA_PORT", "OBSCURA_MGMT_PORT"])
def test_a_busy_port_is_refused(folder: Path, run: Run, name: str, workers: str) -> None:
    """The port is named, and nothing keeps running."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert str(port) in run("serve", OBSCURA_WORKERS=workers, **{name: str(port)}).refusal()
    assert not redis_runs(folder)


@several
def test_a_second_server_on_the_data_directory_is_refused(folder: Path, run: Run, workers: str) -> None:
    """The directory is named, and the first server goes on."""
    first = run("serve", OBSCURA_WORKERS=workers).until_started()
    said = run("serve", OBSCURA_WORKERS=workers).refusal()
    assert said == f"another server is running in the data directory {data_dir(folder)}"
    assert first.stop() == 0


def test_a_missing_redis_server_is_refused(run: Run) -> None:
    """The sentence says what to install."""
    without_extra = (
        "import sys; from obscura.embedded_redis import binary; binary._bundled = lambda: None;"
        "from obscura.cli import main; sys.exit(main())"
    )
    command = run("serve", program=(sys.executable, "-c", without_extra), PATH="/nonexistent")
    assert command.refusal().startswith("no redis-server was found: install redis-server")


@several
def test_an_unreachable_redis_is_refused(run: Run, workers: str) -> None:
    """No password of the URL is in what is said."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = run(
        "serve",
        OBSCURA_WORKERS=workers,
        OBSCURA_REDIS_URL=f"redis://:hush@127.0.0.1:{port}/0",
        OBSCURA_JWT_SECRET=SECRET,
    )
    assert "Redis" in command.refusal()
    assert "hush" not in command.errors


def test_a_shared_redis_without_a_secret_is_refused(run: Run) -> None:
    """The reason is given."""
    said = run("serve", OBSCURA_REDIS_URL="redis://127.0.0.1/").refusal()
    assert said == "OBSCURA_REDIS_URL needs OBSCURA_JWT_SECRET, the same on every node that uses that Redis"


def test_a_wrong_setting_is_refused(run: Run) -> None:
    """It is named with what it should be."""
    said = run("serve", "--port", "http").refusal()
    assert said == "--port must be a whole number from 0 up to 65535, not 'http'"


def test_an_unknown_setting_is_refused(run: Run) -> None:
    """It is named with what was probably meant."""
    said = run("serve", OBSCURA_PROT="3000").refusal()
    assert said == "OBSCURA_PROT is not a setting; did you mean port (--port, OBSCURA_PORT)?"


@pytest.mark.parametrize("program", [OBSCURA, SCRIPT], ids=["module", "script"])
@pytest.mark.real_start
def test_help_lists_every_setting(run: Run, program: tuple[str, ...]) -> None:
    """By flag, variable and default; `python -m obscura` and `obscura` are the same command."""
    command = run("serve", "--help", program=program)
    assert command.exit_code() == 0
    for setting in SETTINGS.values():
        names = rf"^  {setting.flag or re.escape('(no flag)')} +{setting.env}\n"
        assert re.search(names, command.output, re.MULTILINE), setting.name
        entry = command.output.split(f" {setting.env}\n")[1].split("\n  --")[0]
        assert " ".join(setting.meaning.split()) in " ".join(entry.split())
        assert "".join(f"Default: {setting.default}".split()) in "".join(entry.split())
    assert max(map(len, command.output.splitlines())) <= 80


@pytest.mark.real_start
def test_it_tells_its_version(run: Run) -> None:
    """By name and number."""
    command = run("--version")
    assert command.exit_code() == 0
    assert re.fullmatch(r"obscura \d+\.\d+\.\d+\n", command.output)


@pytest.mark.parametrize("arguments", [(), ("sevre",), ("--port", "1")])
def test_what_is_no_command_is_answered_with_the_usage(run: Run, arguments: tuple[str, ...]) -> None:
    """On stderr, with the exit code of a usage error."""
    command = run(*arguments)
    assert command.exit_code() == 2
    assert command.errors.startswith("usage: obscura serve ")


def limited(options: str) -> tuple[str, ...]:
    """The command in a shell that limits its open files first."""
    return ("/bin/sh", "-c", f'ulimit {options}; exec "{sys.executable}" -m obscura "$@"', "sh")


@pytest.mark.skipif(sys.platform != "linux", reason="the limits of another process are read from /proc")
def test_it_takes_all_the_open_files_it_may_have(run: Run) -> None:
    """The soft limit is raised to the hard one."""
    command = run("serve", "--max-sockets", "100", program=limited("-S -n 256")).until_started()
    limits = Path(f"/proc/{command.process.pid}/limits").read_text()
    found = re.search(r"^Max open files +(\w+) +(\w+)", limits, re.MULTILINE)
    assert found
    assert found[1] == found[2] != "256"
    assert "open files" not in command.errors


@several
def test_too_few_open_files_for_the_sockets_that_were_asked_for_are_warned_of(run: Run, workers: str) -> None:
    """A hard limit below the sockets that the settings promise."""
    arguments = ("serve", "--max-sockets", "4000")
    command = run(*arguments, program=limited("-n 1000"), OBSCURA_WORKERS=workers).until_started()
    assert "WARNING obscura.runtime: the limit of open files is too low" in command.errors


@several
def test_too_few_open_files_for_the_default_of_sockets_are_no_warning(run: Run, workers: str) -> None:
    """Who has set nothing is told at info: the node takes what there is."""
    command = run("serve", program=limited("-S -n 256 && ulimit -H -n 1000"), OBSCURA_WORKERS=workers).until_started()
    assert "WARNING" not in command.errors
    assert "INFO obscura.runtime: the limit of open files leaves room for fewer sockets" in command.errors
    assert "limit=1000" in command.errors
