"""Whether a message costs the same when there is more of everything.

The cost is processor time of the node and of Redis for each message: unlike a rate it
does not depend on who else wants the machine. Small and large take turns.
"""

import time
from collections.abc import Callable
from contextlib import ExitStack
from statistics import median
from typing import Any

from benchmarks.generator import bench, cpu_us_per_message, in_background
from benchmarks.relays import Relay, logged_in, make_accounts, relay
from obscura.store import keyspace

_SENDERS = 20
_RECIPIENTS = 4
_MANY_PENDING = 1000
_DEADLINE_SECS = 60.0


def pending(seconds: float, rounds: int) -> dict[str, Any]:
    """Messages to inboxes where one waits, and where 1,000 wait; both full, so that each message pushes one out."""
    with relay(max_inbox_size=1) as few, relay(max_inbox_size=_MANY_PENDING) as many, ExitStack() as files:
        first = files.enter_context(logged_in(few.redis, make_accounts(few.redis, _RECIPIENTS)))
        recipients = make_accounts(many.redis, _RECIPIENTS)
        second = files.enter_context(logged_in(many.redis, recipients))
        with many.redis.client as client:
            while any(client.xlen(keyspace.inbox(user_id)) < _MANY_PENDING for user_id in recipients):
                bench("send", *_load(many, second, _RECIPIENTS, 1))
        return _turns(
            rounds,
            lambda: bench("send", *_load(few, first, _RECIPIENTS, seconds)),
            lambda: bench("send", *_load(many, second, _RECIPIENTS, seconds)),
        )


def accounts(seconds: float, rounds: int, small: int, large: int) -> dict[str, Any]:
    """The same load on a Redis with few accounts, and on one with many."""
    with relay() as few, relay() as many, ExitStack() as files:
        first = files.enter_context(logged_in(few.redis, make_accounts(few.redis, small)[:_SENDERS]))
        second = files.enter_context(logged_in(many.redis, make_accounts(many.redis, large)[:_SENDERS]))
        return _turns(
            rounds,
            lambda: bench("relay", *_load(few, first, _SENDERS, seconds)),
            lambda: bench("relay", *_load(many, second, _SENDERS, seconds)),
        )


def sockets(seconds: float, rounds: int, large: int) -> dict[str, Any]:
    """Messages between ten users, alone on a node and among many who are silent."""
    with relay(max_sockets=2 * large) as alone, relay(max_sockets=2 * large) as crowded, ExitStack() as running:
        first = running.enter_context(logged_in(alone.redis, make_accounts(alone.redis, 10)))
        second = running.enter_context(logged_in(crowded.redis, make_accounts(crowded.redis, 10)))
        silent = running.enter_context(logged_in(crowded.redis, make_accounts(crowded.redis, large)))
        crowd = ("--sockets", large, "--users", large, "--processes", 1, "--duration", 3600)
        running.enter_context(in_background("idle", *crowded.urls, "--accounts", silent, *crowd))
        _until_open(crowded, large)
        return _turns(
            rounds,
            lambda: bench("relay", *_load(alone, first, 10, seconds)),
            lambda: bench("relay", *_load(crowded, second, 10, seconds)),
        )


def _load(on: Relay, accounts_file: object, users: int, seconds: float) -> tuple[object, ...]:
    given = ("--accounts", accounts_file, "--users", users, "--duration", seconds, "--warmup", 1, "--processes", 1)
    return (*on.urls, *on.pids, *given, "--concurrency", 32)


def _turns(rounds: int, small: Callable[[], dict[str, Any]], large: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    costs: dict[str, list[float]] = {"small": [], "large": []}
    for _ in range(rounds):
        for name, run in (("small", small), ("large", large)):
            found = run()
            costs[name].append(cpu_us_per_message(found, 0) + cpu_us_per_message(found, 1))
    return {**costs, "ratio": median(costs["large"]) / median(costs["small"])}


def _until_open(on: Relay, count: int) -> None:
    """Wait until Redis has a subscription for each socket."""
    deadline = time.monotonic() + _DEADLINE_SECS
    with on.redis.client as client:
        while len(client.pubsub_channels("obscura:{*}:events")) < count:
            if time.monotonic() > deadline:
                raise RuntimeError("the silent sockets did not open")
            time.sleep(0.2)
