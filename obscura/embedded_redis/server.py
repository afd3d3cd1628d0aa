"""The node's own redis-server, for when no Redis URL is given.

A supervised child on a unix socket in the data directory. A killed node takes its child
along on Linux. Elsewhere, or where that failed, the next start finds the child by its
socket and ends it the clean way.
"""

import asyncio
import logging
import os
import shlex
import sys
from contextlib import closing, suppress
from pathlib import Path
from urllib.parse import quote

from obscura.embedded_redis.binary import find_redis_server
from obscura.embedded_redis.directory import RedisDirectory
from obscura.errors import StartupError
from obscura.observability.metrics.redis import EMBEDDED_RESTARTS
from obscura.tasks import Backoff, end_tasks

_READY_DEADLINE_SECS = 15.0  # without a sign of life; loading a long file is one
_STOP_DEADLINE_SECS = 5.0
_ORPHAN_DEADLINE_SECS = 10.0
_REPLY_DEADLINE_SECS = 1.0
_POLL_SECS = 0.01
_STEADY_SECS = 10.0  # a child that ran this long was not restarted in vain

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
        self._process: asyncio.subprocess.Process | None = None
        self._supervisor: asyncio.Task[None] | None = None

    @property
    def url(self) -> str:
        """Where the child listens, as a Redis URL."""
        return f"unix://{quote(str(self._directory.socket))}"

    @property
    def cli_line(self) -> str:
        """The command with which an operator looks inside."""
        return f"redis-cli -s {shlex.quote(str(self._directory.socket))}"

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
                reader, writer = await asyncio.open_unix_connection(str(self._directory.socket))
                with closing(writer):
                    writer.write(f"{command}\r\n".encode())
                    return (await reader.readline()).decode(errors="replace").strip()
        except (ConnectionRefusedError, FileNotFoundError):
            return None
        except (OSError, TimeoutError):
            return ""

    async def _launch(self) -> None:
        """Start redis-server and wait until it answers."""
        log_file = os.open(self._directory.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        log_start_bytes = os.fstat(log_file).st_size
        command = [sys.executable, "-I", "-S", "-c", _LAUNCHER, str(os.getpid()), self._program, "redis.conf"]
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
        await self._wait_until_ready(self._process, log_start_bytes)

    async def _wait_until_ready(self, process: asyncio.subprocess.Process, log_start_bytes: int) -> None:
        clock = asyncio.get_running_loop().time
        deadline = clock() + _READY_DEADLINE_SECS
        while (reply := await self._ask("PING")) != "+PONG":
            if process.returncode is not None:
                raise StartupError(f"redis-server does not start: {self._directory.last_log_line(log_start_bytes)}")
            if reply and reply.startswith("-LOADING"):
                deadline = clock() + _READY_DEADLINE_SECS
            if clock() > deadline:
                raise StartupError(f"redis-server does not answer: see {self._directory.log}")
            await asyncio.sleep(_POLL_SECS)

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
