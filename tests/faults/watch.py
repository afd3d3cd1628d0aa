"""Watching a node's readiness while it is hurt."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from math import inf

from tests.faults.nodes import ServedNode

_PAUSE_SECS = 0.05


@dataclass
class Readiness:
    """What /readyz answered: when it was asked, when it answered, and the status."""

    answers: list[tuple[float, float, int]] = field(default_factory=list)

    def noticed_after(self, began: float) -> float:
        """Seconds until the node first said that it is not ready; infinite if it never did."""
        noticed = (answered for asked, answered, status in self.answers if status == 503 and asked >= began)
        return min(noticed, default=inf) - began

    def is_unready_until(self, began: float, ended: float) -> bool:
        """Whether the node, once it had noticed, said so all the time."""
        noticed = began + self.noticed_after(began)
        return all(status == 503 for asked, answered, status in self.answers if noticed <= asked and answered < ended)


@asynccontextmanager
async def watching(node: ServedNode) -> AsyncIterator[Readiness]:
    """Ask again and again until the end of the block."""
    readiness, loop = Readiness(), asyncio.get_running_loop()

    async def ask() -> None:
        while True:
            asked = loop.time()
            status, _ = await node.readiness()
            readiness.answers.append((asked, loop.time(), status))
            await asyncio.sleep(_PAUSE_SECS)

    task = asyncio.create_task(ask())
    try:
        yield readiness
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
