"""`relay`: each message is posted, delivered to its recipient's socket, and acked."""

from obscura.bench.message_tracker import MessageCounts, MessageTracker
from obscura.bench.receivers import Receivers
from obscura.bench.scenario_context import ScenarioContext
from obscura.bench.sender import Sender
from obscura.client.http import HttpConnection


class Relay:
    """``deliver`` is from the start of the send to the arrival at the recipient, ``send`` to the 201."""

    operations: tuple[str, ...] = ("deliver", "send")

    def __init__(self, context: ScenarioContext) -> None:
        self._context = context
        self._tracker = MessageTracker(context.options.size_bytes_for("relay"))
        self._sender = Sender(context, self._tracker)
        self._receivers = Receivers(context, self._tracker, self._note_delivery)

    async def prepare(self) -> None:
        await self._receivers.open()

    async def run(self) -> None:
        await self._context.run_concurrently(self.operate)

    async def finish(self) -> None:
        await self._receivers.drain()
        await self._receivers.audit(self._sender)

    def counts(self) -> MessageCounts:
        return self._tracker.counts(received=True)

    async def operate(self, http: HttpConnection, turn: int, started: float) -> None:
        """One message: it is over when it has arrived."""
        number = self._tracker.open(started)
        await self._sender.post(http, turn % len(self._context.users), number)
        self._context.recorder.completed("send", started)
        await self._tracker.until_delivered(number, self._context.options.timeout_secs)

    def _note_delivery(self, number: int) -> None:
        self._context.recorder.completed("deliver", self._tracker.started(number))
