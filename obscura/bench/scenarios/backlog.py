"""`backlog`: the inboxes of all users are full; they connect, drain them, and ack."""

import asyncio

from obscura.bench.errors import BenchError
from obscura.bench.message_tracker import MessageCounts, MessageTracker
from obscura.bench.receivers import Receivers
from obscura.bench.recorder import now
from obscura.bench.scenario_context import ScenarioContext
from obscura.bench.sender import Sender
from obscura.bench.users import advice
from obscura.client.errors import ExchangeError


class Backlog:
    """``deliver`` is from a user's connect to each message, ``drain`` to the last one."""

    operations: tuple[str, ...] = ("deliver", "drain")

    def __init__(self, context: ScenarioContext) -> None:
        self._context = context
        self._tracker = MessageTracker(context.options.size_bytes_for("backlog"))
        self._sender = Sender(context, self._tracker)
        self._receivers = Receivers(context, self._tracker, self._note_delivery)
        self._connected = [0.0] * len(context.users)
        self._left = [context.options.pending] * len(context.users)
        self._last_arrival = 0.0
        self._drained = asyncio.Event()

    async def prepare(self) -> None:
        """Fill all inboxes.

        Raises:
            BenchError: A message was refused: there would not be what is to be drained.
        """
        step = self._context.options.concurrency
        await asyncio.gather(*(self._fill(first, step) for first in range(step)))

    async def run(self) -> None:
        """Connect all users at once, and wait until all is there or nothing more comes."""
        results = await asyncio.gather(*map(self._connect, range(len(self._context.users))), return_exceptions=True)
        for result in results:
            if isinstance(result, ExchangeError):
                self._context.recorder.failed(str(result))
            elif isinstance(result, BaseException):
                raise result
        self._last_arrival = now()
        timeout_secs = self._context.options.timeout_secs
        while not self._drained.is_set() and now() < self._last_arrival + timeout_secs:
            try:
                await asyncio.wait_for(self._drained.wait(), timeout_secs)
            except TimeoutError:
                continue

    async def finish(self) -> None:
        await self._receivers.drain()
        await self._receivers.audit(self._sender)

    def counts(self) -> MessageCounts:
        return self._tracker.counts(received=True)

    async def _fill(self, first: int, step: int) -> None:
        http = self._context.connect(first)
        total = len(self._context.users) * self._context.options.pending
        try:
            for _ in range(first, total, step):
                number = self._tracker.open(0)
                await self._sender.post(http, self._recipient(number), number)
        except ExchangeError as error:
            raise BenchError(f"the inboxes could not be filled: {error}{advice(str(error))}") from None
        finally:
            http.close()

    async def _connect(self, index: int) -> None:
        self._connected[index] = now()
        await self._receivers.open_one(index)

    def _recipient(self, number: int) -> int:
        return number % len(self._context.users)

    def _note_delivery(self, number: int) -> None:
        index = self._recipient(number)
        self._last_arrival = now()
        self._context.recorder.completed("deliver", self._connected[index])
        self._left[index] -= 1
        if self._left[index] == 0:
            self._context.recorder.completed("drain", self._connected[index])
            if not any(self._left):
                self._drained.set()
