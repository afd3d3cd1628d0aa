"""The node's own redis-server, for when no Redis URL is given.

A supervised child on a unix socket in the data directory. Two locks there keep two
processes from writing one append-only file:

    lock          held by the node: one node per data directory
    redis.lock    handed down to the child: free only when no redis-server is left,
                  not even one whose node was killed

A killed node takes its child along on Linux. Elsewhere, or where that failed, the
next start finds the child by its socket and ends it the clean way.
"""

import asyncio
import logging
import os
import re
import shlex
import sys
from contextlib import closing, suppress
from pathlib import Path
from urllib.parse import quote

from obscura.data_dir import lock_file
from obscura.embedded_redis.binary import find_redis_server
from obscura.errors import StartupError
from obscura.observability.metrics.redis import EMBEDDED_RESTARTS
from obscura.tasks import Backoff

_MULTI_PART_FILE_VERSION = (7, 0)  # from here on the append-only file is a directory, unreadable for older ones
_SOCKET_PATH_MAX_BYTES = 100  # the kernel's limit is 103 on macOS, 107 on Linux
_READY_DEADLINE_SECS = 15.0  # without a sign of life; loading a long file is one
_STOP_DEADLINE_SECS = 5.0
_ORPHAN_DEADLINE_SECS = 10.0
_REPLY_DEADLINE_SECS = 1.0
_POLL_SECS = 0.01
_STEADY_SECS = 10.0  # a child that ran this long was not restarted in vain
_LOG_PREFIX = r"^\d+:\w .{20,24} [-.*#] "

_CONFIG = """\
# Written by obscura at every start: changes here are lost.
# Paths are relative to this directory, in which redis-server is started.
port 0
unixsocket redis.sock
unixsocketperm 700

# The append-only file is the only copy of the data; there are no snapshots besides. It is
# on disk before a write is answered, so neither a crash nor a power cut costs what was
# acknowledged. With "everysec" a power cut may cost two seconds, and so may the end of
# redis-server while a slow disk is still busy with the last sync.
appendonly yes
appendfsync always
save ""

# Never drop a message or an account to make room: refuse writes instead.
maxmemory-policy noeviction
"""

# Runs in place of redis-server until it becomes it. A function between fork and exec would
# do the same, but is unsafe in a process with threads. 1 is PR_SET_PDEATHSIG, 15 SIGTERM; the
# node may have gone before that call.
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
        self._dir = Path(os.path.abspath(data_dir))
        self._socket = self._dir / "redis.sock"
        self._log_path = self._dir / "redis.log"
        self._binary = ""
        self._locks: dict[str, int] = {}  # descriptor by file name
        self._process: asyncio.subprocess.Process | None = None
        self._supervisor: asyncio.Task[None] | None = None

    @property
    def url(self) -> str:
        """Where the child listens, for redis-py."""
        return f"unix://{quote(str(self._socket))}"

    @property
    def cli_line(self) -> str:
        """The command with which an operator looks inside."""
        return f"redis-cli -s {shlex.quote(str(self._socket))}"

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
            self._take_directory()
            await self._end_orphan()
            await self._launch()
        except BaseException as error:
            await self.stop()
            if isinstance(error, OSError):
                raise StartupError(f"the data directory {self._dir} cannot be used: {error.strerror}") from error
            raise
        self._supervisor = asyncio.create_task(self._supervise())

    async def stop(self) -> None:
        """Stop redis-server after it has written its file, and give up the data directory.

        May be repeated. Kills when it is cancelled and when a deadline has passed.
        """
        try:
            if self._supervisor is not None:
                self._supervisor.cancel()
                await asyncio.gather(self._supervisor, return_exceptions=True)
            await self._end_child()
        finally:
            self._kill()
            while self._locks:
                os.close(self._locks.popitem()[1])

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

    def _take_directory(self) -> None:
        """Lock the data directory, made if need be, and put the configuration there."""
        if len(os.fsencode(self._socket)) > _SOCKET_PATH_MAX_BYTES:
            raise StartupError(
                f"{self._socket} is too long for a unix socket: choose a DATA_DIR of fewer than "
                f"{_SOCKET_PATH_MAX_BYTES - len('/redis.sock')} bytes"
            )
        self._dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not self._lock("lock"):
            raise StartupError(f"another server is running in the data directory {self._dir}")
        if self._socket.exists() and not self._socket.is_socket():
            # A stale socket may stay: redis-server replaces it, as it would whatever else has the name.
            raise StartupError(f"{self._socket} is in the way: it is not a socket")
        self._binary = self._choose_binary()
        (self._dir / "redis.conf").write_text(_CONFIG)

    def _choose_binary(self) -> str:
        server = find_redis_server()
        if server.version < _MULTI_PART_FILE_VERSION and (self._dir / "appendonlydir").exists():
            # It would start empty beside the data it cannot read.
            raise StartupError(f"{self._dir} was written by redis-server 7 or later, and {server.path} is older")
        return server.path

    def _lock(self, name: str) -> bool:
        file = lock_file(self._dir / name)
        if file is not None:
            self._locks[name] = file
        return file is not None

    async def _end_orphan(self) -> None:
        """Wait until no redis-server is left in the directory, after asking one that listens to end."""
        try:
            async with asyncio.timeout(_ORPHAN_DEADLINE_SECS):
                while await self._ask("SHUTDOWN") is not None or not self._lock("redis.lock"):  # noqa: ASYNC110
                    await asyncio.sleep(_POLL_SECS)
        except TimeoutError:
            raise StartupError(
                f"a redis-server of an earlier run does not leave the data directory {self._dir}: end it by hand"
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

    async def _launch(self) -> None:
        """Start redis-server and wait until it answers."""
        log_file = os.open(self._log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        log_start_bytes = os.fstat(log_file).st_size
        command = [sys.executable, "-I", "-S", "-c", _LAUNCHER, str(os.getpid()), self._binary, "redis.conf"]
        try:
            self._process = await asyncio.create_subprocess_exec(
                *command,
                cwd=self._dir,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log_file,
                stderr=log_file,
                pass_fds=[self._locks["redis.lock"]],
                start_new_session=True,  # Ctrl-C must not end Redis before the node has written its acks
            )
        finally:
            os.close(log_file)
        await self._until_ready(self._process, log_start_bytes)

    async def _until_ready(self, process: asyncio.subprocess.Process, log_start_bytes: int) -> None:
        clock = asyncio.get_running_loop().time
        deadline = clock() + _READY_DEADLINE_SECS
        while (reply := await self._ask("PING")) != "+PONG":
            if process.returncode is not None:
                raise StartupError(f"redis-server does not start: {self._last_words(log_start_bytes)}")
            if reply and reply.startswith("-LOADING"):
                deadline = clock() + _READY_DEADLINE_SECS
            if clock() > deadline:
                raise StartupError(f"redis-server does not answer: see {self._log_path}")
            await asyncio.sleep(_POLL_SECS)

    def _last_words(self, log_start_bytes: int) -> str:
        """Return the last line that redis-server logged, without its time."""
        with self._log_path.open(errors="replace") as log_file:
            log_file.seek(log_start_bytes)
            said = [line.strip() for line in log_file if line.strip()] or ["no reason given"]
        return f"{re.sub(_LOG_PREFIX, '', said[-1])} (see {self._log_path})"

    async def _supervise(self) -> None:
        """Start redis-server again whenever it ends, after a pause that grows while it keeps ending."""
        clock = asyncio.get_running_loop().time
        backoff = Backoff()
        while True:
            assert self._process is not None
            started_at = clock()
            exit_code = await self._process.wait()
            if clock() - started_at > _STEADY_SECS:
                backoff.reset()
            EMBEDDED_RESTARTS.inc()
            log.error("redis-server ended and is started again", extra={"exit_code": exit_code})
            await backoff.pause()
            try:
                await self._launch()
            except (StartupError, OSError) as error:
                log.error("redis-server could not be started again", extra={"reason": str(error)})
