"""One place among the workers of a node: filled again whenever its process dies, or hangs and is killed."""

import asyncio
import logging
import signal
from typing import Any

from obscura.errors import StartupError, WorkerUnresponsive
from obscura.observability.metrics.process import WORKER_HANGS, WORKER_RESTARTS
from obscura.processes.metrics_aggregator import MetricsAggregator
from obscura.processes.worker_config import Assignment
from obscura.processes.worker_process import Child
from obscura.runtime import LAST_WORDS
from obscura.tasks import Backoff, end_tasks

log = logging.getLogger(__name__)

_MAX_PAUSE_SECS = 10.0  # a start takes most of a second of a CPU
_STEADY_SECS = 10.0  # a worker that served this long was not started in vain
_METRICS_TIMEOUT_SECS = 5.0
_FORCED_STOP_SECS = 1.0

# A worker that says nothing at all for so many rounds in a row hangs: one on a busy machine is only slow.
# Rounds, and not one deadline, so that what stops the supervisor too, as a debugger does, counts once.
_ROUND_SECS = 5.0
_SILENT_ROUNDS = 3
_LAST_WORDS_SECS = 0.5


class WorkerSlot:
    """Keeps one worker running.

    Args:
        assignment: What each of its processes is told.
        metrics: Where their figures go.
    """

    def __init__(self, assignment: Assignment, metrics: MetricsAggregator) -> None:
        self._assignment = assignment
        self._metrics = metrics
        self._child: Child | None = None
        self._is_serving = False
        self._keeper: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start the first process; from then on there is always one.

        Raises:
            StartupError: It does not start. The caller stops the seat.
        """
        await self._fill()
        self._keeper = asyncio.create_task(self._keep_filled())

    async def stop(self, patience_secs: float) -> None:
        """Have the process leave, and kill it when it takes longer than this. When cancelled, wait a second."""
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)
        child = self._child
        if child is None:
            return
        try:
            await _end(child, patience_secs)
        except asyncio.CancelledError:
            await _end(child, _FORCED_STOP_SECS)  # a second signal: it stops by force too
            raise

    async def ask(self, question: str, timeout_secs: float) -> Any:
        """Ask the process.

        Raises:
            WorkerUnresponsive: There is none that serves, or it does not answer.
        """
        if self._child is None or not self._is_serving:
            raise WorkerUnresponsive("no worker serves")
        return await self._child.ask(question, timeout_secs)

    async def update_metrics(self) -> None:
        """Ask for the figures of now. Those of before stay if there is no answer."""
        child = self._child
        try:
            text = await self.ask("metrics", _METRICS_TIMEOUT_SECS)
        except WorkerUnresponsive:
            return
        if child is self._child and child is not None and self._is_serving:
            self._metrics.update(child.pid, text)

    async def _fill(self) -> None:
        self._child = await Child.spawn(self._assignment)
        await self._child.until_started()
        self._is_serving = True

    async def _keep_filled(self) -> None:
        """Fill the seat again whenever its process ends."""
        clock = asyncio.get_running_loop().time
        backoff = Backoff(_MAX_PAUSE_SECS)
        while True:
            assert self._child is not None
            started_at = clock()
            exit_code = await _until_end(self._child)
            self._is_serving = False
            self._metrics.retire(self._child.pid)
            about = {"worker": self._assignment.number, "worker_pid": self._child.pid, "exit_code": exit_code}
            log.error("a worker ended and is started again", extra=about)
            if clock() - started_at > _STEADY_SECS:
                backoff.reset()
            await self._refill(backoff)

    async def _refill(self, backoff: Backoff) -> None:
        """Try until another process serves, with pauses that grow while they keep ending."""
        while not self._is_serving:
            await backoff.pause()
            WORKER_RESTARTS.inc()
            try:
                await self._fill()
            except (StartupError, OSError) as error:
                about = {"worker": self._assignment.number, "reason": str(error)}
                log.error("a worker could not be started again", extra=about)


async def _until_end(child: Child) -> int:
    """Wait for the end of a process, and bring it about when it hangs; returns the exit code."""
    watching = asyncio.create_task(_kill_if_silent(child))
    try:
        return await child.wait()
    finally:
        await end_tasks(watching)


async def _kill_if_silent(child: Child) -> None:
    silent_rounds = 0
    while silent_rounds < _SILENT_ROUNDS:
        lines_heard = child.lines_heard
        child.poke()
        await asyncio.sleep(_ROUND_SECS)
        silent_rounds = 0 if child.lines_heard > lines_heard else silent_rounds + 1
    WORKER_HANGS.inc()
    log.error("a worker hangs and is killed", extra={"worker_pid": child.pid})
    child.signal(LAST_WORDS)
    await asyncio.sleep(_LAST_WORDS_SECS)
    child.signal(signal.SIGKILL)


async def _end(child: Child, patience_secs: float) -> None:
    child.signal(signal.SIGTERM)
    try:
        async with asyncio.timeout(patience_secs):
            await child.wait()
    except TimeoutError:
        log.error("a worker did not leave in time and is killed", extra={"worker_pid": child.pid})
        child.signal(signal.SIGKILL)
        await child.wait()
