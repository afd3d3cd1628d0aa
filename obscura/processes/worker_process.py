"""A worker as its supervisor sees it: a process to start, to ask, to signal and to wait for."""

import asyncio
import os
import signal
import socket
import sys
from contextlib import suppress
from itertools import count
from typing import Any, Self

import orjson

from obscura.errors import StartupError, WorkerUnresponsive
from obscura.processes.worker_config import WorkerConfig
from obscura.settings.fields import ENV_PREFIX
from obscura.tasks import end_tasks

# -P: the directory it happens to run in is no place to import from. Of what is imported nothing is garbage.
_PROGRAM = "import gc, sys; gc.disable(); from obscura.processes.worker_main import main; gc.enable(); sys.exit(main())"
_COMMAND = (sys.executable, "-P", "-c", _PROGRAM)
_MAX_LINE_BYTES = 2**24  # the metrics of one process
_START_SECS = 60.0  # much more than the busiest machine takes


class WorkerProcess:
    """One worker process, from its start to its end. `worker_main.py` says what is spoken with it.

    Attributes:
        messages_received: How many messages it has sent, whatever they were. One that hangs sends none.
    """

    def __init__(self, process: asyncio.subprocess.Process, channel: tuple[asyncio.StreamReader, asyncio.StreamWriter]):
        self._process = process
        self._reader, self._writer = channel
        self._ids = count()
        self._unanswered: dict[int, asyncio.Future[Any]] = {}
        self._receiving: asyncio.Task[None] | None = None
        self.messages_received = 0

    @classmethod
    async def spawn(cls, config: WorkerConfig) -> Self:
        """Start a process and tell it what to do.

        Its environment has none of our settings: it gets them, and the secrets among
        them, over the channel alone.
        """
        environ = {name: value for name, value in os.environ.items() if not name.startswith(ENV_PREFIX)}
        environ["PYTHONPATH"] = os.pathsep.join(entry or os.getcwd() for entry in sys.path)
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        try:
            process = await asyncio.create_subprocess_exec(
                *_COMMAND,
                f"obscura worker {config.number}",  # to be read in the process list
                stdin=theirs.fileno(),
                env=environ,
                start_new_session=True,  # Ctrl-C is for the supervisor, who tells the workers
            )
            channel = await asyncio.open_unix_connection(sock=ours, limit=_MAX_LINE_BYTES)
        except BaseException:
            ours.close()
            raise
        finally:
            theirs.close()
        channel[1].write(config.to_json() + b"\n")
        return cls(process, channel)

    @property
    def pid(self) -> int:
        return self._process.pid

    async def wait_until_started(self) -> None:
        """Wait until it serves.

        Raises:
            StartupError: It cannot, for the reason it gave, or has ended without one, or
                took too long and was killed.
        """
        try:
            async with asyncio.timeout(_START_SECS):
                message = await self._read()
        except WorkerUnresponsive:
            code = await self.wait()
            raise StartupError(f"a worker process ended while it started, with exit code {code}") from None
        except TimeoutError:
            self.signal(signal.SIGKILL)
            await self.wait()
            raise StartupError(f"a worker process did not start within {_START_SECS:.0f} seconds") from None
        if "refused" in message:
            raise StartupError(message["refused"])
        self._receiving = asyncio.create_task(self._receive_answers())

    async def ask(self, question: str, timeout_secs: float) -> Any:
        """Ask a worker that has started.

        Raises:
            WorkerUnresponsive: It is gone, or did not answer in time.
        """
        answer = self._send(question)
        try:
            async with asyncio.timeout(timeout_secs):
                return await answer
        except TimeoutError:
            raise WorkerUnresponsive("no answer in time") from None

    def ping(self) -> None:
        """Ask for a sign of life and do not wait for it: `messages_received` rises when it comes."""
        with suppress(WorkerUnresponsive):
            self._send("alive")

    def _send(self, question: str) -> asyncio.Future[Any]:
        if self._receiving is None or self._receiving.done():
            raise WorkerUnresponsive("the worker has ended")
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        number = next(self._ids)
        self._unanswered[number] = answer
        answer.add_done_callback(lambda _: self._unanswered.pop(number, None))
        self._writer.write(orjson.dumps({"id": number, "question": question}) + b"\n")
        return answer

    async def _receive_answers(self) -> None:
        """Hand out the answers, in whatever order they come, until it closes its end."""
        try:
            while True:
                message = await self._read()
                asked = self._unanswered.get(message["id"])
                if asked is not None and not asked.done():
                    asked.set_result(message["answer"])
        except WorkerUnresponsive as error:
            for asked in list(self._unanswered.values()):
                if not asked.done():
                    asked.set_exception(error)
                    asked.exception()  # read once, for nobody awaits the answer to a ping

    async def _read(self) -> Any:
        try:
            line = await self._reader.readline()
        except ConnectionError:
            line = b""
        if not line:
            raise WorkerUnresponsive("the worker has ended")
        self.messages_received += 1
        return orjson.loads(line)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal, if it still runs."""
        with suppress(ProcessLookupError):
            self._process.send_signal(number)

    async def wait(self) -> int:
        """Wait for its end; returns the exit code."""
        code = await self._process.wait()
        await end_tasks(self._receiving)
        self._writer.close()
        return code
