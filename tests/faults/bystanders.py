"""Others at a node that is abused: they are to notice nothing, and the node is to stay small."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from math import ceil, inf

from tests.faults import checker
from tests.faults.account import Endpoint
from tests.faults.crowd import Crowd
from tests.faults.history import History
from tests.faults.nodes import ServedNode
from tests.faults.report import Findings
from tests.faults.testbed import Testbed

_SIZE = 8
_RATE_PER_SEC = 100
_BEFORE_SECS = 1.5
# How much later than before the slowest of a hundred messages may come. The node, its Redis and all the clients of a
# test share two cores or so: this tells a node that serves one client alone from one that serves them in turn.
_TIMES_SLOWER = 25.0
_NOISE_SECS = 0.02  # a p99 below this says more of the machine's mood than of the node
_LOG_LINES_PER_SEC = 5
_SAMPLE_SECS = 0.02
_ERRORS = "obscura_http_server_errors_total"


@dataclass
class Abuse:
    """A time in which somebody abuses a node, and what it cost.

    Attributes:
        crowd: The others.
        rest_bytes: Memory of the node before.
        peak_bytes: The most it had in that time.
    """

    node: ServedNode
    crowd: Crowd
    rest_bytes: int
    peak_bytes: int

    @property
    def growth_bytes(self) -> int:
        return self.peak_bytes - self.rest_bytes


@asynccontextmanager
async def abused(testbed: Testbed, node: ServedNode, found: Findings) -> AsyncIterator[Abuse]:
    """The block abuses a node; others write to each other there, before it and all the while.

    It is a fault if one of their requests fails, one of their sockets ends, a message is lost or comes much later
    than before, the node answers 500 or 503 to anybody, or writes many lines to its log.
    """
    crowd = Crowd([Endpoint(node.name, node.port)], testbed.random, _SIZE, _RATE_PER_SEC)
    await crowd.register()
    try:
        with crowd.staying():
            async with crowd.round() as history, crowd.at_work():
                await asyncio.sleep(_BEFORE_SECS)
                errors, lines = await node.metric(_ERRORS), node.log.count("\n")
                began, abuse = testbed.now, Abuse(node, crowd, node.resident_bytes, node.resident_bytes)
                async with _watching_memory(abuse):
                    yield abuse
                ended = testbed.now
                errors, lines = await node.metric(_ERRORS) - errors, node.log.count("\n") - lines
    finally:
        await crowd.leave()
    _judge(history, began, ended, found)
    found.worst("MB more", abuse.growth_bytes / 1e6)
    found.expect(errors == 0, f"{errors:g} requests were answered 500 or 503")
    found.at_most("log lines a second", lines / (ended - began), _LOG_LINES_PER_SEC)
    found.repetitions += 1


def percentile_99(history: History, since: float, until: float) -> float:
    """Seconds from the first attempt to the arrival: what all but one of a hundred messages took at most."""
    seen: dict[int, float] = {}
    for one in history.seen:
        seen.setdefault(one.number, one.at)
    waits = sorted(
        seen.get(message.number, inf) - message.began
        for message in history.sent.values()
        if since <= message.began < until
    )
    assert waits, "nobody sent anything"
    return waits[ceil(0.99 * len(waits)) - 1]


def _judge(history: History, began: float, ended: float, found: Findings) -> None:
    found.read(history)
    found.faults += checker.failed(history)
    found.faults += checker.cut(history)
    before, during = percentile_99(history, began - _BEFORE_SECS, began), percentile_99(history, began, ended)
    found.worst("ms p99 before", before * 1000)
    found.worst("ms p99 meanwhile", during * 1000)
    found.at_most("times slower", during / max(before, _NOISE_SECS), _TIMES_SLOWER)


@asynccontextmanager
async def _watching_memory(abuse: Abuse) -> AsyncIterator[None]:
    async def watch() -> None:
        while True:
            abuse.peak_bytes = max(abuse.peak_bytes, abuse.node.resident_bytes)
            await asyncio.sleep(_SAMPLE_SECS)

    task = asyncio.create_task(watch())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
