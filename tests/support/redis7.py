"""redis-server 7 with an append-only file: alone, under Sentinel, and as a Cluster. On free ports, always stopped."""

import asyncio
import os
import re
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, Self

import pytest
from redis import Redis
from redis.exceptions import RedisError

from tests.support.ports import free_port
from tests.support.waiting import eventually

START_SECS = 30.0
MASTER_NAME = "relay"
_WANTED = (7, 0)
_DOWN_AFTER_MS = 1000
# Of a Sentinel, in milliseconds. With its own it takes seconds to see what there is, and half a minute to trust its
# clock again when a busy machine held it up. Asking for votes more often than each second has all ask at once, and
# each vote for itself.
_PERIODS_MS = {"PING": 300, "PUBLISH": 200, "INFO": 500, "TILT": 1000}
_FAILOVER_TRIES, _FAILOVER_SECS = 4, 12.0


@cache
def find_redis(program: str = "redis-server") -> str:
    """A program of Redis 7 or later: the first that says so, of those on PATH and in the system's own folders.

    Skips the test where there is none, except in continuous integration.
    """
    folders = [*os.environ.get("PATH", "").split(os.pathsep), "/usr/bin", "/usr/local/bin"]
    for path in (Path(folder) / program for folder in folders):
        if path.is_file():
            said = subprocess.run([path, "--version"], capture_output=True, text=True, check=False).stdout
            found = re.search(r"(?:v=|redis-cli )(\d+)\.(\d+)", said)
            if found and (int(found[1]), int(found[2])) >= _WANTED:
                return str(path)
    message = f"there is no {program} 7 or later on this machine"
    if os.environ.get("CI"):
        pytest.fail(message)
    return pytest.skip(message)


class RedisProcess:
    """One redis-server on a port of its own; it can be paused, killed, and started again on its data.

    Args:
        options: Of the command line, after those for the port, the folder and the append-only file.
        announced_port: The port that others are told, where a proxy stands before it.
    """

    def __init__(self, *options: str, appendfsync: str = "always", announced_port: int | None = None) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="obscura-redis-")
        # A replica that comes back has its copy at once, and not after the usual wait for others.
        self._options = ["--appendonly", "yes", "--save", "", "--repl-diskless-sync-delay", "0", *options]
        self._appendfsync = appendfsync
        self._process: subprocess.Popen[bytes] | None = None
        self.port = free_port()
        self.announced_port = announced_port or self.port
        if announced_port:
            self._options += ["--replica-announce-ip", "127.0.0.1", "--replica-announce-port", str(announced_port)]

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    @property
    def folder(self) -> Path:
        return Path(self._folder.name)

    def client(self, **options: Any) -> "Redis":
        return Redis(port=self.port, decode_responses=True, socket_timeout=5, **options)

    async def start(self, *more: str) -> Self:
        """Start, this time with ``more`` options, and wait until it answers with its data loaded."""
        self._launch(*more)
        await eventually(self._answers, START_SECS)
        return self

    def _launch(self, *more: str) -> None:
        command = [find_redis(), *self._arguments(), *more]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(command, cwd=self.folder, stdout=log, stderr=log)

    def _arguments(self) -> list[str]:
        place = ["--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.folder)]
        return [*place, "--appendfsync", self._appendfsync, *self._options]

    def sync(self, when: str) -> None:
        """Change when the append-only file is synced, from now on and after a restart too."""
        self._appendfsync = when
        with self.client() as client:
            client.config_set("appendfsync", when)

    def kill(self) -> None:
        """kill -9."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def pause(self) -> None:
        """It takes connections and commands, and answers none before `resume`."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def remove(self) -> None:
        """End it, whatever its state, with its data."""
        if self.is_running:
            self.kill()
        self._folder.cleanup()

    async def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self.folder / "log").read_text()
        try:
            with self.client() as client:
                return bool(client.ping())
        except RedisError:
            return False

    async def __aenter__(self) -> Self:
        try:
            return await self.start()
        except BaseException:
            self.remove()
            raise

    async def __aexit__(self, *_: object) -> None:
        self.remove()


class SentinelProcess(RedisProcess):
    """One Sentinel; it keeps no data but its own configuration."""

    def __init__(self, master: RedisProcess, quorum: int, down_after_ms: int) -> None:
        super().__init__()
        self._configuration = (
            f"port {self.port}\nbind 127.0.0.1\ndir {self.folder}\n"
            f"sentinel monitor {MASTER_NAME} 127.0.0.1 {master.announced_port} {quorum}\n"
            f"sentinel down-after-milliseconds {MASTER_NAME} {down_after_ms}\n"
            f"sentinel failover-timeout {MASTER_NAME} {2 * down_after_ms}\n"
            f"sentinel parallel-syncs {MASTER_NAME} 2\n"
        )

    async def start(self, *more: str) -> Self:
        await super().start(*more)
        with self.client() as client:
            periods = [word for name, ms in _PERIODS_MS.items() for word in (f"{name}-PERIOD", ms)]
            client.execute_command("SENTINEL", "DEBUG", *periods)
        return self

    def _arguments(self) -> list[str]:
        file = self.folder / "sentinel.conf"
        if not file.exists():  # Sentinel writes into it what it learns
            file.write_text(self._configuration)
        return [str(file), "--sentinel"]


class _Group:
    """Several processes that start together and end together."""

    def __init__(self) -> None:
        self._processes: list[RedisProcess] = []

    async def _start(self, *processes: RedisProcess) -> None:
        self._processes += processes
        await asyncio.gather(*(process.start() for process in processes))

    def of_port(self, port: int) -> RedisProcess:
        return next(process for process in self._processes if port in (process.port, process.announced_port))

    def remove(self) -> None:
        for process in self._processes:
            process.remove()

    async def __aexit__(self, *_: object) -> None:
        self.remove()


class SentinelRedis(_Group):
    """A master, two replicas and three Sentinels.

    Args:
        options: For each of the servers.
        announced_ports: Of the three servers, where proxies stand before them.
    """

    def __init__(
        self,
        *options: str,
        down_after_ms: int = _DOWN_AFTER_MS,
        appendfsync: str = "always",
        announced_ports: Sequence[int | None] = (None, None, None),
    ) -> None:
        super().__init__()
        self._down_after_ms = down_after_ms
        self.servers = [
            RedisProcess(*options, appendfsync=appendfsync, announced_port=port) for port in announced_ports
        ]
        self.sentinels: list[SentinelProcess] = []

    @property
    def url(self) -> str:
        return f"redis+sentinel://{','.join(f'127.0.0.1:{s.port}' for s in self.sentinels)}/{MASTER_NAME}"

    @property
    def master(self) -> RedisProcess:
        """The master of the moment, by the Sentinel whose configuration is the newest."""
        views = []
        for sentinel in self.sentinels:
            with suppress(RedisError), sentinel.client() as client:
                epoch = client.execute_command("SENTINEL MASTER", MASTER_NAME)["config-epoch"]
                # What that says of the address is old until the failover has come to its end.
                _, port = client.execute_command("SENTINEL GET-MASTER-ADDR-BY-NAME", MASTER_NAME)
                views.append((int(epoch), int(port)))
        assert views, "no Sentinel answers"
        return self.of_port(max(views)[1])

    async def __aenter__(self) -> Self:
        try:
            await self._start(*self.servers)
            for replica in self.servers[1:]:
                self.follow(replica, self.servers[0])
            await eventually(lambda: _copies_of(self.servers[0]) == 2, START_SECS)
            self.sentinels = [SentinelProcess(self.servers[0], 2, self._down_after_ms) for _ in range(3)]
            await self._start(*self.sentinels)
            await eventually(self._is_complete, START_SECS)
        except BaseException:
            self.remove()
            raise
        return self

    def sync(self, when: str) -> None:
        """Change when the append-only files are synced."""
        for server in self.servers:
            server.sync(when)

    def has_replaced(self, old: RedisProcess) -> bool:
        """Whether the Sentinels name another master, and that is one."""
        new = self.master
        if new is old:
            return False
        with new.client() as client:
            return bool(client.info("replication")["role"] == "master")

    async def fail_over(self, old: RedisProcess, *, pause_ms: int = 0) -> None:
        """Have a Sentinel replace a master, which lives on. On a busy machine it may give up, and is told again.

        Args:
            pause_ms: How long the master is to take no writes meanwhile.
        """
        for _ in range(_FAILOVER_TRIES):
            with suppress(RedisError), old.client() as master, self.sentinels[0].client() as sentinel:
                if pause_ms:
                    master.execute_command("CLIENT", "PAUSE", pause_ms, "WRITE")
                sentinel.execute_command("SENTINEL", "FAILOVER", MASTER_NAME)
            with suppress(AssertionError):
                await eventually(lambda: self.has_replaced(old), _FAILOVER_SECS)
                return
        raise AssertionError("the master was not replaced")

    async def restart(self, killed: RedisProcess) -> None:
        """Start one that was the master as a replica of the one that is it now."""
        await killed.start("--replicaof", "127.0.0.1", str(self.master.announced_port))

    @staticmethod
    def follow(replica: RedisProcess, master: RedisProcess) -> None:
        """Have one server copy another."""
        with replica.client() as client:
            client.replicaof("127.0.0.1", str(master.announced_port))

    def is_whole(self) -> bool:
        """Whether both replicas copy the master, and every Sentinel knows it."""
        try:
            return self.copies == 2 and self._is_complete()
        except RedisError:
            return False

    @property
    def copies(self) -> int:
        """How many replicas copy the master now."""
        return _copies_of(self.master)

    def _is_complete(self) -> bool:
        """Whether each Sentinel knows of the others and of both replicas."""
        for sentinel in self.sentinels:
            with sentinel.client() as client:
                masters = client.info("sentinel").get("master0", {})
                if (int(masters.get("slaves", 0)), int(masters.get("sentinels", 0))) != (2, 3):
                    return False
                replicas = client.execute_command("SENTINEL", "REPLICAS", MASTER_NAME)
            if any(_flags(replica) != {"slave"} for replica in replicas):
                return False
        return True


class ClusterRedis(_Group):
    """Three masters with a replica each."""

    def __init__(self, node_timeout_ms: int = 1000, appendfsync: str = "always") -> None:
        super().__init__()
        options = ("--cluster-enabled", "yes", "--cluster-node-timeout", str(node_timeout_ms))
        options += (
            "--cluster-replica-validity-factor",
            "0",
        )  # on a busy machine a replica lags, and is to try all the same
        self.servers = [RedisProcess(*options, *_bus_port(), appendfsync=appendfsync) for _ in range(6)]

    @property
    def url(self) -> str:
        return f"redis+cluster://{','.join(f'127.0.0.1:{server.port}' for server in self.servers[:3])}"

    @property
    def masters(self) -> list[RedisProcess]:
        """Those that serve slots at this moment, by the first server that answers."""
        return [self.of_port(port) for port, flags in self._nodes() if "master" in flags and "fail" not in flags]

    async def __aenter__(self) -> Self:
        try:
            await self._start(*self.servers)
            addresses = [f"127.0.0.1:{server.port}" for server in self.servers]
            await self.cli("create", *addresses, "--cluster-replicas", "1")
            await eventually(self.is_whole, START_SECS)
        except BaseException:
            self.remove()
            raise
        return self

    async def cli(self, command: str, *arguments: str) -> str:
        """Run ``redis-cli --cluster``, as for a reshard."""
        process = await asyncio.create_subprocess_exec(
            *(find_redis("redis-cli"), "--cluster", command, *arguments, "--cluster-yes"),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        said, _ = await process.communicate()
        assert process.returncode == 0, said.decode()
        return said.decode()

    async def promote(self, replica: RedisProcess) -> None:
        """Have a replica replace its master, which lives on. On a busy machine it may give up, and is told again."""
        for _ in range(_FAILOVER_TRIES):
            with suppress(RedisError), replica.client() as client:  # it says so when it is a master already
                client.execute_command("CLUSTER FAILOVER")
            with suppress(AssertionError):
                await eventually(lambda: replica in self.masters, _FAILOVER_SECS)
                return
        raise AssertionError("the replica did not become a master")

    @property
    def replicas(self) -> list[RedisProcess]:
        masters = self.masters
        return [server for server in self.servers if server not in masters]

    def is_whole(self) -> bool:
        """Whether each of three masters has a replica with its data, and all servers agree."""
        try:
            return self._is_ready() and len(self.masters) == len(self.servers) / 2
        except RedisError:
            return False

    def _nodes(self) -> list[tuple[int, Sequence[str]]]:
        for server in self.servers:
            try:
                with server.client() as client:
                    nodes = client.execute_command("CLUSTER NODES")
            except RedisError:
                continue
            return [
                (int(address.rpartition(":")[2]), [flag.rstrip("?") for flag in state["flags"].split(",")])
                for address, state in nodes.items()
            ]
        raise AssertionError("no server of the Cluster answers")

    def _is_ready(self) -> bool:
        for server in self.servers:
            with server.client() as client:
                if client.cluster("INFO")["cluster_state"] != "ok":
                    return False
                links = client.info("replication")
                if links["role"] == "slave" and links["master_link_status"] != "up":
                    return False
        return True


def _copies_of(master: RedisProcess) -> int:
    with master.client() as client:
        state = client.info("replication")
    return sum(state.get(f"slave{number}", {}).get("state") == "online" for number in range(2))


def _flags(replica: dict[str, Any]) -> set[str]:
    """What a Sentinel says of a replica."""
    return set(replica["flags"].split(","))


def _bus_port() -> tuple[str, str]:
    # Not the default, which is the port plus 10,000 and may lie beyond 65,535.
    return "--cluster-port", str(free_port())
