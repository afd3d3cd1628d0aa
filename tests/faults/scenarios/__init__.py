"""The faults: which there are, and how often and how long each is injected."""

import traceback
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial

from tests.faults.ground import Ground
from tests.faults.report import Findings
from tests.faults.scenarios import acks, cancelled, nodes, redis, sessions, soak, storage

Run = Callable[[Ground, int, Findings], Awaitable[None]]


@dataclass(frozen=True)
class Scenario:
    """A fault and how much of it there is: a little in the test suite, the full length in a long run.

    Attributes:
        times: Rounds of the short run, and of one turn of the long one.
        brief: For the short run.
        full: For the long run.
    """

    name: str
    brief: Run
    full: Run
    times: tuple[int, int]

    async def run(self, ground: Ground, *, is_long: bool) -> Findings:
        """One turn. What it found is in the findings; an error is one more fault."""
        found = Findings(self.name)
        ground.random.seed(ground.seed)  # alone or after others, it does the same
        try:
            await (self.full if is_long else self.brief)(ground, self.times[is_long], found)
        except Exception as error:
            traceback.print_exc()
            found.faults += [f"the scenario broke off: {cause!r}" for cause in _causes(error)]
            await ground.restore()
        return found


def _causes(error: BaseException) -> list[BaseException]:
    """What a group of errors consists of."""
    if isinstance(error, BaseExceptionGroup):
        return [cause for part in error.exceptions for cause in _causes(part)]
    return [error]


def _same(name: str, run: Run, brief_times: int, full_times: int) -> Scenario:
    return Scenario(name, run, run, (brief_times, full_times))


def _lasting(
    name: str, run: Callable[..., Awaitable[None]], brief_secs: float, full_secs: float, full_times: int = 1
) -> Scenario:
    brief, full = (partial(run, length_secs=length_secs) for length_secs in (brief_secs, full_secs))
    return Scenario(name, brief, full, (1, full_times))


STANDALONE = (
    _same("nodes-killed", nodes.nodes_killed, 3, 20),
    _same("nodes-replaced", nodes.nodes_replaced, 1, 4),
    _same("redis-killed", redis.redis_killed, 2, 10),
    _same("redis-killed-everysec", redis.redis_killed_everysec, 1, 10),
    _same("subscribers-killed", redis.subscribers_killed, 3, 20),
    _lasting("subscriber-cut-off", redis.subscriber_cut_off, 6, 20, 3),
    _lasting("redis-stopped", redis.redis_stopped, 5, 20, 3),
    _lasting("node-cut-off", redis.node_cut_off, 6, 60, 2),
    _same("acks-then-the-end", acks.acks_then_the_end, 1, 5),
    _same("takeovers", sessions.takeovers, 5, 50),
    _same("refreshes-raced", sessions.refreshes_raced, 1, 5),
    _same("storage-hurt", storage.storage_hurt, 1, 3),
    _same("requests-cancelled", cancelled.requests_cancelled, cancelled.CANCELLED, 5 * cancelled.CANCELLED),
    _lasting("soak", soak.soak, 15, 1800),
)
