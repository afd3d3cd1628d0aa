"""`send`: messages are posted, and nobody takes them."""

from obscura.bench.message_tracker import MessageCounts, MessageTracker
from obscura.bench.scenario_context import ScenarioContext
from obscura.bench.sender import Sender
from obscura.client.http import HttpConnection


class Send:
    operations: tuple[str, ...] = ("send",)

    def __init__(self, context: ScenarioContext) -> None:
        self._context = context
        self._tracker = MessageTracker(context.options.size_bytes_for("send"))
        self._sender = Sender(context, self._tracker)

    async def prepare(self) -> None:
        pass

    async def run(self) -> None:
        await self._context.run_concurrently(self._operate)

    async def finish(self) -> None:
        pass

    def counts(self) -> MessageCounts:
        return self._tracker.counts(received=False)

    async def _operate(self, http: HttpConnection, turn: int, started: float) -> None:
        number = self._tracker.open(started)
        await self._sender.post(http, turn % len(self._context.users), number)
        self._context.recorder.completed("send", started)
