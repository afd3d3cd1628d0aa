"""`send`: messages are posted, and nobody takes them."""

from obscura.bench.message_tracker import Account, MessageTracker
from obscura.bench.scenario_context import Stage
from obscura.bench.sender import Sender
from obscura.client.http import HttpConnection


class Send:
    operations: tuple[str, ...] = ("send",)

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._ledger = MessageTracker(stage.options.size_bytes_for("send"))
        self._sender = Sender(stage, self._ledger)

    async def prepare(self) -> None:
        pass

    async def run(self) -> None:
        await self._stage.run_lanes(self._operate)

    async def finish(self) -> None:
        pass

    def account(self) -> Account:
        return self._ledger.account(received=False)

    async def _operate(self, http: HttpConnection, turn: int, started: float) -> None:
        number = self._ledger.open(started)
        await self._sender.post(http, turn % len(self._stage.users), number)
        self._stage.recorder.completed("send", started)
