"""The node's own redis-server, for when no Redis URL is given.

A supervised child on a unix socket in the data directory. A killed node takes its child
along on Linux. Elsewhere, or where that failed, the next start finds the child by its
socket and ends it the clean way. With a full disk it is kept running, without writes.
"""

import asyncio
import logging
import os
import sys
from contextlib import closing, suppress
from pathlib import Path
from urllib.parse import quote

from obscura.embedded_redis.binary import find_redis_server, find_tool
from obscura.embedded_redis.directory import RedisDirectory
from obscura.embedded_redis.watch import SilenceWatch
from obscura.errors import StartupError
from obscura.observability.metrics.redis import EMBEDDED_RESTARTS
from obscura.observability.terminal import shell_word
from obscura.tasks import Backoff, end_tasks

_READY_DEADLINE_SECS = 15.0  # without a sign of life; loading a long file is one
_STOP_DEADLINE_SECS = 5.0
_ORPHAN_DEADLINE_SECS = 10.0
_REPLY_DEADLINE_SECS = 1.0
_POLL_SECS = 0.01
_STEADY_SECS = 10.0  # a child that ran this long was not restarted in vain
_MAX_PAUSE_SECS = 10.0
_LOOK_SECS = 1.0
_ROOM_LOOK_SECS = 0.25

# A disk with less than this is full: some messages, and what a start writes.
_ROOM_BYTES = 2 * 2**20

# With a full disk each write ends a redis-server that syncs before it answers. So it takes none from anybody, and
# does not mind if its own, of what expires, fail for now.
_WITHOUT_WRITES = ("--appendfsync", "everysec")
_FORBID_WRITES = "ACL SETUSER default -@write"
_ALLOW_WRITES = ("CONFIG SET appendfsync always", "ACL SETUSER default +@all")  # in this order

# A few lines of Python that become redis-server by exec: no one but the process itself can ask the kernel to
# end it with its parent. A function between fork and exec could too, but is unsafe in a process with threads.
# 1 is PR_SET_PDEATHSIG, 15 SIGTERM; the node may have gone before that call.
_LAUNCHER = """\
import ctypes, os, sys
os.umask(0o077)
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, 15)
    if os.getppid() != int(sys.argv[1]):
        sys.exit("the node is gone")
os.execv(sys.argv[2], sys.argv[2:])
"""

log = logging.getLogger(__name__)


class EmbeddedRedis:
    """A redis-server of our own in ``data_dir``, started again whenever it dies.

    Use it in the main thread: on Linux the child ends with the thread that started it.
    """

    def __init__(self, data_dir: Path) -> None:
        self._directory = RedisDirectory(data_dir)
        self._program = ""
        self._log_start_bytes = 0  # of the child that runs
        self._takes_writes = True
        self._socket = self._directory.socket
        self._process: asyncio.subprocess.Process | None = None
        self._supervisor: asyncio.Task[None] | None = None

    @property
    def url(self) -> str:
        """Where the child listens, as a Redis URL."""
        return f"unix://{quote(bytes(self._directory.socket))}"

    @property
    def cli_line(self) -> str:
        """The command with which an operator looks inside, of what this machine has."""
        if (cli := find_tool("redis-cli")) is None:
            return f"obscura inspect stats --data-dir {shell_word(self._directory.path)}"
        return f"{shell_word(Path(cli))} -s {shell_word(self._directory.socket)}"

    @property
    def pid(self) -> int | None:
        """The process id of the child, another after each restart; None while none was started."""
        return self._process.pid if self._process else None

    async def start(self) -> None:
        """Take the data directory and start redis-server in it; return when it answers.

        Ends a redis-server that a killed node left behind, after its data is on disk.

        Raises:
            StartupError: The directory cannot be used or is in use, there is no
                redis-server, or it does not start. Nothing is left running.
        """
        try:
            self._directory.claim()
            binary = find_redis_server()
            self._directory.prepare_for(binary)
            self._program = binary.path
            await self._end_orphan()
            await self._launch()
        except BaseException as error:
            await self.stop()
            if isinstance(error, OSError):
                raise StartupError(
                    f"the data directory {self._directory.path} cannot be used: {error.strerror}"
                ) from error
            raise
        self._supervisor = asyncio.create_task(self._supervise())

    async def stop(self) -> None:
        """Stop redis-server after it has written its file, and give up the data directory.

        May be repeated. Kills when it is cancelled and when a deadline has passed.
        """
        try:
            await end_tasks(self._supervisor)
            await self._end_child()
        finally:
            self._kill()
            self._directory.release()

    async def _end_child(self) -> None:
        if self._process is None or self._process.returncode is not None:
            return
        with suppress(ProcessLookupError, TimeoutError):
            self._process.terminate()
            async with asyncio.timeout(_STOP_DEADLINE_SECS):
                await self._process.wait()

    def _kill(self) -> None:
        if self._process is not None and self._process.returncode is None:
            with suppress(ProcessLookupError):
                self._process.kill()

    async def _end_orphan(self) -> None:
        """Wait until no redis-server is left in the directory, after asking one that listens to end."""
        try:
            async with asyncio.timeout(_ORPHAN_DEADLINE_SECS):
                while await self._ask("SHUTDOWN") is not None or not self._directory.lock_for_redis():  # noqa: ASYNC110
                    await asyncio.sleep(_POLL_SECS)
        except TimeoutError:
            raise StartupError(
                f"a redis-server of an earlier run does not leave the data directory {self._directory.path}: "
                "end it by hand"
            ) from None

    async def _ask(self, command: str) -> str | None:
        """Send a command to whoever listens on the socket and return the first line of the reply.

        None: nobody listens. Empty: no reply, or the end of the connection.
        """
        try:
            async with asyncio.timeout(_REPLY_DEADLINE_SECS):
                reader, writer = await asyncio.open_unix_connection(str(self._socket))
                with closing(writer):
                    writer.write(f"{command}\r\n".encode())
                    return (await reader.readline()).decode(errors="replace").strip()
        except (ConnectionRefusedError, FileNotFoundError):
            return None
        except (OSError, TimeoutError):
            return ""

    async def _launch(self, takes_writes: bool = True) -> None:
        """Start redis-server and wait until it answers; warn if it has left out the end of its file."""
        sizes = self._directory.file_sizes()
        log_file = os.open(self._directory.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._log_start_bytes = os.fstat(log_file).st_size
        self._takes_writes = takes_writes
        self._socket = self._directory.socket if takes_writes else self._directory.private_socket
        command = [sys.executable, "-I", "-S", "-c", _LAUNCHER, str(os.getpid()), self._program, "redis.conf"]
        command += () if takes_writes else (*_WITHOUT_WRITES, "--unixsocket", self._directory.private_socket.name)
        try:
            self._process = await asyncio.create_subprocess_exec(
                *command,
                cwd=self._directory.path,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log_file,
                stderr=log_file,
                pass_fds=[self._directory.redis_lock],
                start_new_session=True,  # Ctrl-C must not end Redis before the node has written its acks
            )
        finally:
            os.close(log_file)
        await self._wait_until_ready(self._process)
        if not takes_writes:
            await self._open_without_writes(self._process)
        self._directory.sync()
        if dropped_bytes := self._directory.dropped_bytes(self._log_start_bytes, sizes):
            log.warning(
                "the append-only file was cut short: redis-server has left out its end, with what was not whole there",
                extra={"dropped_bytes": dropped_bytes},
            )

    async def _open_without_writes(self, process: asyncio.subprocess.Process) -> None:
        """Forbid writes, and only then let clients find it.

        Not by its configuration: what may not be written is not read from the append-only file either.
        """
        if await self._ask(_FORBID_WRITES) != "+OK":
            process.kill()
            raise StartupError("redis-server cannot be kept from writing to a full disk")
        self._directory.private_socket.replace(self._directory.socket)
        self._socket = self._directory.socket

    async def _wait_until_ready(self, process: asyncio.subprocess.Process) -> None:
        clock = asyncio.get_running_loop().time
        deadline = clock() + _READY_DEADLINE_SECS
        while (reply := await self._ask("PING")) != "+PONG":
            if process.returncode is not None:
                raise StartupError(
                    f"redis-server does not start: {self._directory.last_log_line(self._log_start_bytes)}"
                )
            if reply and reply.startswith("-LOADING"):
                deadline = clock() + _READY_DEADLINE_SECS
            if clock() > deadline:
                raise StartupError(f"redis-server does not answer: see {self._directory.log}")
            await asyncio.sleep(_POLL_SECS)

    async def _supervise(self) -> None:
        """Start redis-server again whenever it ends, after a pause that grows while it keeps ending.

        While its disk is full it is started so that it serves what it has and refuses all writes, for
        the first one would end it again.
        """
        clock = asyncio.get_running_loop().time
        backoff = Backoff(_MAX_PAUSE_SECS)
        told = ""
        while True:
            assert self._process is not None
            started_at = clock()
            exit_code = await self._until_end(self._process)
            if clock() - started_at > _STEADY_SECS:
                backoff.reset()
                told = ""
            EMBEDDED_RESTARTS.inc()
            told = self._tell_end(exit_code, told)
            await backoff.pause()
            try:
                await self._launch(takes_writes=not self._is_disk_full)
            except (StartupError, OSError) as error:
                log.error("redis-server could not be started again", extra={"reason": str(error)})

    @property
    def _is_disk_full(self) -> bool:
        return self._directory.free_bytes < _ROOM_BYTES

    def _tell_end(self, exit_code: int, told: str) -> str:
        """Log why it ended, unless that was told already; returns what is told now."""
        reason = "its disk is full" if self._is_disk_full else self._directory.last_log_line(self._log_start_bytes)
        about = {"exit_code": exit_code, "reason": reason, "free_bytes": self._directory.free_bytes}
        log.log(
            logging.DEBUG if reason == told else logging.ERROR, "redis-server ended and is started again", extra=about
        )
        return reason

    async def _until_end(self, process: asyncio.subprocess.Process) -> int:
        """Wait for its end and return the exit code; name it while it hangs, let it write once there is room."""
        ending = asyncio.create_task(process.wait())
        silence = SilenceWatch(process.pid)
        try:
            while not ending.done():
                await asyncio.wait({ending}, timeout=_LOOK_SECS if self._takes_writes else _ROOM_LOOK_SECS)
                if ending.done():
                    break
                if not self._takes_writes and not self._is_disk_full:
                    await self._take_writes()
                silence.on_look(bool(await self._ask("PING")), self._directory.free_bytes)
            return ending.result()
        finally:
            await end_tasks(ending)

    async def _take_writes(self) -> None:
        """Let it write again, each write on disk before its reply."""
        for command in _ALLOW_WRITES:
            if await self._ask(command) != "+OK":
                return  # at the next look
        self._takes_writes = True
        log.warning("the disk of redis-server has room again, it takes writes")
