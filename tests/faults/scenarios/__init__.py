"""The faults: which there are, and how often and how long each is injected."""

import traceback
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from functools import partial

from tests.faults.report import Findings
from tests.faults.scenarios import (
    abuse,
    acks,
    cancelled,
    cluster,
    crowding,
    nodes,
    redis,
    replicas,
    sentinel,
    sessions,
    soak,
    storage,
)
from tests.faults.testbed import Testbed, behind_proxies, on_cluster, standalone, under_sentinel

Run = Callable[[Testbed, int, Findings], Awaitable[None]]


@dataclass(frozen=True)
class Scenario:
    """A fault and how much of it there is: a little in the test suite, the full length in a long run.

    Attributes:
        times: Rounds of the short run, none if it is left out there, and of one turn of the long one.
        brief: For the short run.
        full: For the long run.
    """

    name: str
    brief: Run
    full: Run
    times: tuple[int, int]

    async def run(self, testbed: Testbed, *, is_long: bool) -> Findings:
        """One turn. What it found is in the findings; an error is one more fault."""
        found = Findings(self.name)
        testbed.random.seed(testbed.seed)  # alone or after others, it does the same
        try:
            await (self.full if is_long else self.brief)(testbed, max(1, self.times[is_long]), found)
        except Exception as error:
            traceback.print_exc()
            found.faults += [f"the scenario broke off: {cause!r}" for cause in _causes(error)]
            await testbed.restore()
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
    _same("readers-stuck", abuse.readers_stuck, 1, 3),
    _same("peers-half-open", abuse.peers_half_open, 1, 3),
    _same("frames-flooded", abuse.frames_flooded, 1, 5),
    _same("connects-flooded", abuse.connects_flooded, 1, 5),
    _same("requests-flooded", abuse.requests_flooded, 1, 5),
    _same("limits-met", abuse.limits_met, 1, 3),
    _lasting("redis-full", crowding.redis_full, 2, 10, 3),
    _same("inbox-flooded", crowding.inbox_flooded, 1, 5),
    Scenario("everybody-back", *(partial(crowding.everybody_back, count=count) for count in (1_500, 10_000)), (1, 1)),
    _same("requests-cancelled", cancelled.requests_cancelled, cancelled.CANCELLED, 5 * cancelled.CANCELLED),
    _lasting("soak", soak.soak, 15, 1800),
)

SENTINEL = (
    _same("sentinel-killed", sentinel.masters_killed, 1, 10),
    _same("sentinel-at-rest", sentinel.masters_replaced_at_rest, 1, 5),
    _same("replica-hung", replicas.replica_hung, 1, 5),
    *(
        _same(f"sentinel-killed-{sync}-{waited}", partial(replicas.in_sync, when=sync, run=run), 0, 5)
        for sync in ("always", "everysec")
        for waited, run in (
            ("unwaited", partial(sentinel.masters_killed, replicas=0)),
            ("waited", sentinel.masters_killed),
        )
    ),
    *(
        _same(f"sentinel-restarted-{sync}", partial(replicas.in_sync, when=sync, run=run), 0, 5)
        for sync, run in (
            ("always", partial(replicas.master_restarted, is_lossless=True)),
            ("everysec", partial(replicas.master_restarted, is_lossless=False)),
        )
    ),
    *(
        _same(f"sentinel-replaced-{waited}-of-2", partial(sentinel.masters_replaced, replicas=waited), 0, 5)
        for waited in (0, 1, 2)
    ),
)
BEHIND_PROXIES = (
    _same("master-isolated", sentinel.master_isolated, 1, 5),
    _same("master-isolated-unwaited", partial(sentinel.master_isolated, replicas=0), 0, 5),
    _same("master-out-of-reach", partial(sentinel.node_cut_off_from_the_master, length_secs=20), 0, 3),
    _lasting("sentinels-out-of-reach", sentinel.node_cut_off_from_sentinels, 3, 20, 3),
)
CLUSTER = (
    _same("cluster-killed", cluster.masters_killed, 1, 10),
    _same("cluster-killed-unwaited", cluster.masters_killed_unwaited, 0, 10),
    _same("cluster-replaced", cluster.masters_replaced, 1, 10),
    _same("cluster-replaced-unwaited", cluster.masters_replaced_unwaited, 0, 10),
    _same("slots-moved", cluster.slots_moved, 1, 10),
    _same("cluster-takeovers", sessions.takeovers, 2, 50),
    _same("cluster-refreshes-raced", sessions.refreshes_raced, 0, 5),
)


@dataclass(frozen=True)
class Relay:
    """A kind of relay, and the scenarios that it is for.

    Attributes:
        open: Starts one, with a seed.
    """

    open: Callable[[int], AbstractAsyncContextManager[Testbed]]
    scenarios: tuple[Scenario, ...]


RELAYS = (
    Relay(standalone, STANDALONE),
    Relay(under_sentinel, SENTINEL),
    Relay(behind_proxies, BEHIND_PROXIES),
    Relay(on_cluster, CLUSTER),
)
