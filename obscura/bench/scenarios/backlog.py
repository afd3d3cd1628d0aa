"""`backlog`: the inboxes of all users are full; they connect, drain them, and ack."""

import asyncio

from obscura.bench.failure import BenchError, ExchangeError
from obscura.bench.message_tracker import Account, MessageTracker
from obscura.bench.receivers import Receivers
from obscura.bench.recorder import now
from obscura.bench.scenario_context import Stage
from obscura.bench.sender import Sender
from obscura.bench.users import advice


class Backlog:
    """``deliver`` is from a user's connect to each message, ``drain`` to the last one."""

    operations: tuple[str, ...] = ("deliver", "drain")

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._ledger = MessageTracker(stage.options.size_bytes_for("backlog"))
        self._sender = Sender(stage, self._ledger)
        self._mailboxes = Receivers(stage, self._ledger, self._note_delivery)
        self._connected = [0.0] * len(stage.users)
        self._left = [stage.options.pending] * len(stage.users)
        self._last_arrival = 0.0
        self._drained = asyncio.Event()

    async def prepare(self) -> None:
        """Fill all inboxes.

        Raises:
            BenchError: A message was refused: there would not be what is to be drained.
        """
        lanes = self._stage.options.concurrency
        await asyncio.gather(*(self._fill(lane, lanes) for lane in range(lanes)))

    async def run(self) -> None:
        """Connect all users at once, and wait until all is there or nothing more comes."""
        results = await asyncio.gather(*map(self._connect, range(len(self._stage.users))), return_exceptions=True)
        for result in results:
            if isinstance(result, ExchangeError):
                self._stage.recorder.failed(str(result))
            elif isinstance(result, BaseException):
                raise result
        self._last_arrival = now()
        timeout_secs = self._stage.options.timeout_secs
        while not self._drained.is_set() and now() < self._last_arrival + timeout_secs:
            try:
                await asyncio.wait_for(self._drained.wait(), timeout_secs)
            except TimeoutError:
                continue

    async def finish(self) -> None:
        await self._mailboxes.drain()
        await self._mailboxes.audit(self._sender)

    def account(self) -> Account:
        return self._ledger.account(received=True)

    async def _fill(self, lane: int, lanes: int) -> None:
        http = self._stage.connect(lane)
        total = len(self._stage.users) * self._stage.options.pending
        try:
            for _ in range(lane, total, lanes):
                number = self._ledger.open(0)
                await self._sender.post(http, self._recipient(number), number)
        except ExchangeError as error:
            raise BenchError(f"the inboxes could not be filled: {error}{advice(str(error))}") from None
        finally:
            http.close()

    async def _connect(self, index: int) -> None:
        self._connected[index] = now()
        await self._mailboxes.open_one(index)

    def _recipient(self, number: int) -> int:
        return number % len(self._stage.users)

    def _note_delivery(self, number: int) -> None:
        index = self._recipient(number)
        self._last_arrival = now()
        self._stage.recorder.completed("deliver", self._connected[index])
        self._left[index] -= 1
        if self._left[index] == 0:
            self._stage.recorder.completed("drain", self._connected[index])
            if not any(self._left):
                self._drained.set()
