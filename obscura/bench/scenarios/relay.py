"""`relay`: each message is posted, delivered to its recipient's socket, and acked."""

from obscura.bench.message_tracker import Account, MessageTracker
from obscura.bench.receivers import Receivers
from obscura.bench.scenario_context import Stage
from obscura.bench.sender import Sender
from obscura.client.http import HttpConnection


class Relay:
    """``deliver`` is from the start of the send to the arrival at the recipient, ``send`` to the 201."""

    operations: tuple[str, ...] = ("deliver", "send")

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._ledger = MessageTracker(stage.options.size_bytes_for("relay"))
        self._sender = Sender(stage, self._ledger)
        self._mailboxes = Receivers(stage, self._ledger, self._note_delivery)

    async def prepare(self) -> None:
        await self._mailboxes.open()

    async def run(self) -> None:
        await self._stage.run_lanes(self.operate)

    async def finish(self) -> None:
        await self._mailboxes.drain()
        await self._mailboxes.audit(self._sender)

    def account(self) -> Account:
        return self._ledger.account(received=True)

    async def operate(self, http: HttpConnection, turn: int, started: float) -> None:
        """One message: the lane is free again when it has arrived."""
        number = self._ledger.open(started)
        await self._sender.post(http, turn % len(self._stage.users), number)
        self._stage.recorder.completed("send", started)
        await self._ledger.until_delivered(number, self._stage.options.timeout_secs)

    def _note_delivery(self, number: int) -> None:
        self._stage.recorder.completed("deliver", self._ledger.started(number))
