"""A node of several processes: starts its workers, keeps them running, speaks for all, stops them together.

It serves no client. It owns what there is once per node: the data directory with the
embedded Redis and the secret, the reservation of the API port, the management port.
"""

import asyncio
import logging
import os
from collections.abc import Mapping
from contextlib import AsyncExitStack

from obscura.errors import StartupError
from obscura.node.listening import open_management_port
from obscura.node.own_redis import ensure_redis
from obscura.observability.exposition import own_metrics
from obscura.processes.metrics_aggregator import MetricsAggregator, without_gauges
from obscura.processes.reserved_port import ReservedPort
from obscura.processes.worker_config import WorkerConfig
from obscura.processes.worker_slot import WorkerSlot
from obscura.settings.model import Settings

log = logging.getLogger(__name__)

_PARTS = ("database", "storage", "events", "clock")
_LATE_ANSWER_SECS = 1.0  # beyond what a worker's own checks may take
_LATE_END_SECS = 3.0  # beyond what a worker's own stop may take


class Supervisor:
    """A node of ``settings.workers`` processes, to be made inside the event loop that runs it.

    Attributes, after `start`:
        api_port: Where clients connect, to any of the workers.
        management_port: Where health and metrics of all of them are.
        redis_description: Where the data is, in lines for an operator.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._is_draining = False
        self._slots: list[WorkerSlot] = []
        self._metrics = MetricsAggregator()
        self._running = AsyncExitStack()  # what to stop, in the reverse order of its start
        self._stopping: asyncio.Task[None] | None = None
        self.api_port = self.management_port = 0
        self.redis_description = ""

    async def start(self) -> None:
        """Come up whole, or leave nothing running.

        Raises:
            StartupError: A port is taken, Redis cannot be had, the data directory is in use.
        """
        try:
            settings, self.redis_description = await ensure_redis(self._settings, self._running)
            reserved = ReservedPort(settings.host, settings.port)
            self._running.callback(reserved.close)
            self.api_port = reserved.port
            self.management_port = await open_management_port(
                settings, self._readiness, self._all_metrics, self._running
            )
            await self._start_workers(settings.model_copy(update={"port": reserved.port}))
        except BaseException:
            await self.stop()
            raise
        ports = {"port": self.api_port, "management_port": self.management_port}
        log.info("all workers have started", extra={"workers": settings.workers, **ports})

    async def stop(self) -> None:
        """Be not ready at once, stop all workers, and end.

        Takes the drain time, and then at most the shutdown timeout and a little. Safe to call
        again. When it is cancelled the workers have a second.
        """
        if self._stopping is None:
            self._is_draining = True
            self._stopping = asyncio.create_task(self._running.aclose())
        await asyncio.shield(self._stopping)

    async def _start_workers(self, settings: Settings) -> None:
        self._slots = [
            WorkerSlot(WorkerConfig(number, settings), self._metrics) for number in range(1, settings.workers + 1)
        ]
        self._running.push_async_callback(self._stop_workers)
        async with asyncio.TaskGroup() as starts:
            started = [starts.create_task(_start_error(slot)) for slot in self._slots]
        for error in filter(None, (task.result() for task in started)):
            raise error

    async def _stop_workers(self) -> None:
        settings = self._settings
        timeout_secs = settings.drain_secs + settings.shutdown_timeout_secs + _LATE_END_SECS
        await asyncio.gather(*(slot.stop(timeout_secs) for slot in self._slots))

    async def _readiness(self) -> Mapping[str, str]:
        """A part is well if every worker says so; the whole is ready only with all of them there."""
        settings = self._settings
        checks_secs = max(settings.health_db_timeout_ms, settings.storage_health_timeout_ms) / 1000
        asked = [slot.ask("readiness", checks_secs + _LATE_ANSWER_SECS) for slot in self._slots]
        said = await asyncio.gather(*asked, return_exceptions=True)
        answers = [one for one in said if not isinstance(one, BaseException)]
        parts = {part: _joint_status([answer[part] for answer in answers]) for part in _PARTS}
        serving = sum(answer["status"] != "draining" for answer in answers)
        status = _joint_readiness(answers) if serving == settings.workers else "error"
        whole = {"status": "draining" if self._is_draining else status, **parts}
        reasons = dict.fromkeys(answer["reason"] for answer in answers if "reason" in answer)  # each once
        reason = {"reason": "; ".join(reasons)} if reasons else {}
        return {**whole, "workers": f"{serving} of {settings.workers}", **reason}

    async def _all_metrics(self) -> bytes:
        await asyncio.gather(*(slot.update_metrics() for slot in self._slots))
        self._metrics.update(os.getpid(), without_gauges((await own_metrics()).decode()))
        return self._metrics.text()


def _joint_status(results: list[str]) -> str:
    return "ok" if results and all(result == "ok" for result in results) else "error"


def _joint_readiness(answers: list[Mapping[str, str]]) -> str:
    said = {answer["status"] for answer in answers}
    return next((status for status in ("error", "degraded") if status in said), "ok")


async def _start_error(slot: WorkerSlot) -> StartupError | None:
    """Start a worker; returns why it cannot."""
    try:
        await slot.start()
    except StartupError as error:
        return error
    return None
