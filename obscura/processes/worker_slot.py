"""One place among the workers of a node: its process is started again when it dies, or hangs and is killed."""

import asyncio
import logging
import signal
from typing import Any

from obscura.errors import StartupError, WorkerUnresponsive
from obscura.observability.metrics.process import WORKER_HANGS, WORKER_RESTARTS
from obscura.processes.metrics_aggregator import MetricsAggregator
from obscura.processes.worker_config import WorkerConfig
from obscura.processes.worker_process import WorkerProcess
from obscura.runtime import STACK_DUMP_SIGNAL
from obscura.tasks import Backoff, end_tasks

log = logging.getLogger(__name__)

_MAX_PAUSE_SECS = 10.0  # a start takes most of a second of a CPU
_STABLE_SECS = 10.0  # a worker that served this long did not fail at its start
_METRICS_TIMEOUT_SECS = 5.0
_FORCED_STOP_SECS = 1.0

# A worker that says nothing at all for so many rounds in a row hangs; one on a busy machine is only slow.
# Rounds, and not one deadline: when the supervisor itself stood still, as in a debugger, that counts as one round.
_ROUND_SECS = 5.0
_SILENT_ROUNDS = 3
_STACK_DUMP_SECS = 0.5


class WorkerSlot:
    """Keeps one worker running.

    Args:
        config: What each of its processes is told.
        metrics: Where their metrics go.
    """

    def __init__(self, config: WorkerConfig, metrics: MetricsAggregator) -> None:
        self._config = config
        self._metrics = metrics
        self._process: WorkerProcess | None = None
        self._is_serving = False
        self._keeping: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start the first process; from then on there is always one.

        Raises:
            StartupError: It does not start. The caller stops the slot.
        """
        await self._start_process()
        self._keeping = asyncio.create_task(self._keep_running())

    async def stop(self, timeout_secs: float) -> None:
        """Have the process stop, and kill it when it takes longer than this. When cancelled, give it a second."""
        await end_tasks(self._keeping)
        process = self._process
        if process is None:
            return
        try:
            await _end(process, timeout_secs)
        except asyncio.CancelledError:
            await _end(process, _FORCED_STOP_SECS)  # a second signal: it stops by force too
            raise

    async def ask(self, question: str, timeout_secs: float) -> Any:
        """Ask the process.

        Raises:
            WorkerUnresponsive: There is none that serves, or it does not answer.
        """
        if self._process is None or not self._is_serving:
            raise WorkerUnresponsive("no worker serves")
        return await self._process.ask(question, timeout_secs)

    async def update_metrics(self) -> None:
        """Ask for the metrics of now. Those of before stay if there is no answer."""
        process = self._process
        try:
            text = await self.ask("metrics", _METRICS_TIMEOUT_SECS)
        except WorkerUnresponsive:
            return
        if process is self._process and process is not None and self._is_serving:
            self._metrics.update(process.pid, text)

    async def _start_process(self) -> None:
        self._process = await WorkerProcess.spawn(self._config)
        await self._process.wait_until_started()
        self._is_serving = True

    async def _keep_running(self) -> None:
        """Start another process whenever one ends."""
        clock = asyncio.get_running_loop().time
        backoff = Backoff(_MAX_PAUSE_SECS)
        while True:
            assert self._process is not None
            started_at = clock()
            exit_code = await _until_end(self._process)
            self._is_serving = False
            self._metrics.remove_process(self._process.pid)
            about = {"worker": self._config.number, "worker_pid": self._process.pid, "exit_code": exit_code}
            log.error("a worker ended and is started again", extra=about)
            if clock() - started_at > _STABLE_SECS:
                backoff.reset()
            await self._restart(backoff)

    async def _restart(self, backoff: Backoff) -> None:
        """Try until another process serves, with pauses that grow while they keep ending."""
        while not self._is_serving:
            await backoff.pause()
            WORKER_RESTARTS.inc()
            try:
                await self._start_process()
            except (StartupError, OSError) as error:
                about = {"worker": self._config.number, "reason": str(error)}
                log.error("a worker could not be started again", extra=about)


async def _until_end(process: WorkerProcess) -> int:
    """Wait for the end of a process, and bring it about when it hangs; returns the exit code."""
    watching = asyncio.create_task(_kill_if_silent(process))
    try:
        return await process.wait()
    finally:
        await end_tasks(watching)


async def _kill_if_silent(process: WorkerProcess) -> None:
    silent_rounds = 0
    while silent_rounds < _SILENT_ROUNDS:
        received_before = process.messages_received
        process.ping()
        await asyncio.sleep(_ROUND_SECS)
        silent_rounds = 0 if process.messages_received > received_before else silent_rounds + 1
    WORKER_HANGS.inc()
    log.error("a worker hangs and is killed", extra={"worker_pid": process.pid})
    process.signal(STACK_DUMP_SIGNAL)
    await asyncio.sleep(_STACK_DUMP_SECS)
    process.signal(signal.SIGKILL)


async def _end(process: WorkerProcess, timeout_secs: float) -> None:
    process.signal(signal.SIGTERM)
    try:
        async with asyncio.timeout(timeout_secs):
            await process.wait()
    except TimeoutError:
        log.error("a worker did not leave in time and is killed", extra={"worker_pid": process.pid})
        process.signal(signal.SIGKILL)
        await process.wait()
