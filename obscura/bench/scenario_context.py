"""What the scenarios of one process work with: users, connections, a clock, and where to note things."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from itertools import count
from typing import Protocol

from obscura.bench.message_tracker import MessageCounts
from obscura.bench.options import Options
from obscura.bench.recorder import Recorder, Window, now
from obscura.bench.users import User
from obscura.client.errors import ExchangeError
from obscura.client.http import HttpConnection, Traffic
from obscura.client.target import Target
from obscura.client.websocket import WebSocket

_PAUSE_SECS = 0.01


@dataclass
class ScenarioContext:
    """The share of one process in a run. ``number`` tells the processes apart."""

    options: Options
    number: int
    users: list[User]
    recorder: Recorder = field(default_factory=Recorder)
    traffic: Traffic = field(default_factory=Traffic)

    def target(self, index: int) -> Target:
        """A node for the ``index``-th of anything: all nodes get their turn, in each process from another one on."""
        return self.options.targets[(index + self.number) % len(self.options.targets)]

    def connect(self, index: int) -> HttpConnection:
        return HttpConnection(self.target(index), self.traffic, self.options.timeout_secs)

    async def open_socket(
        self, index: int, user: User, on_messages: Callable[[WebSocket, list[bytes]], None]
    ) -> WebSocket:
        """A gateway socket of a user; `ExchangeError` if there is none to be had."""
        path = f"/v1/gateway?token={user.token}"
        return await WebSocket.open(self.target(index), path, self.traffic, on_messages, self.options.timeout_secs)

    async def run_concurrently(self, operate: Callable[[HttpConnection, int, float], Awaitable[None]]) -> None:
        """Keep ``--concurrency`` operations under way until the window ends.

        ``operate`` gets a connection that no other operation uses meanwhile, a number and the operation's start.
        What was to start inside the window is done even when it has ended, since a server
        that falls behind is to be seen doing so; but not for longer than the timeout.
        """
        last_call = self.recorder.window.until + self.options.timeout_secs
        schedule = Schedule(self.options, self.recorder.window)
        turns = count()

        async def keep_operating(index: int) -> None:
            http = self.connect(index)
            try:
                while (started := await schedule.next_start()) < self.recorder.window.until:
                    if now() > last_call:
                        self.recorder.failed("not started in time")
                        continue
                    try:
                        await operate(http, next(turns), started)
                    except ExchangeError as error:
                        self.recorder.failed(str(error))
                        await asyncio.sleep(_PAUSE_SECS)  # a server that is gone is not to be stormed
            finally:
                http.close()

        await asyncio.gather(*(keep_operating(index) for index in range(self.options.concurrency)))


class Schedule:
    """When the operations start: as soon as the one before has ended, or at a steady rate."""

    def __init__(self, options: Options, window: Window) -> None:
        self._window = window
        self._step_secs = 1 / options.rate_per_sec if options.rate_per_sec is not None else None
        self._numbers: Iterator[int] = count()

    async def next_start(self) -> float:
        """Wait until the next operation is to start, and return that moment.

        If that lies behind the window, there is nothing to start, and the moment is returned at once.
        At a rate, a caller that comes late gets a moment that has passed, and the wait
        counts as latency: whoever would have sent then has waited too ("coordinated
        omission", Gil Tene). A timer of the loop may fire up to a millisecond early; then
        the operation counts from when it really starts.
        """
        if self._step_secs is None:
            return now()
        intended = self._window.start + next(self._numbers) * self._step_secs
        if intended >= self._window.until:
            return intended
        if (wait_secs := intended - now()) > 0:
            await asyncio.sleep(wait_secs)
        return min(intended, now())


class Scenario(Protocol):
    """One kind of load. ``operations`` are what it measures; the first one's rate is its throughput."""

    operations: tuple[str, ...]

    def __init__(self, context: ScenarioContext) -> None: ...

    async def prepare(self) -> None:
        """Make what is needed before the clock starts."""

    async def run(self) -> None:
        """Load the server until the window ends, or until all is done."""

    async def finish(self) -> None:
        """Wait for what is due, count what did not come, and leave."""

    def counts(self) -> MessageCounts | None:
        """The balance of the messages, if there were any."""
