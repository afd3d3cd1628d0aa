"""Posts messages of the ledger from one user to another."""

from obscura.bench.message_tracker import MessageTracker
from obscura.bench.scenario_context import Stage
from obscura.client.http import HttpConnection, head


class Sender:
    """Posts messages from one user to the next, with heads that are built once."""

    def __init__(self, stage: Stage, ledger: MessageTracker) -> None:
        self._stage = stage
        self._ledger = ledger
        self._heads: dict[tuple[int, str], bytes] = {}

    async def post(self, http: HttpConnection, recipient: int, number: int) -> None:
        """Send a message of the ledger to one of the users; `ExchangeError` if it was not taken."""
        answer = await http.exchange(self._head(http, recipient) + self._ledger.body(number))
        answer.expect(201)
        self._ledger.accepted(number)

    def _head(self, http: HttpConnection, recipient: int) -> bytes:
        key = (recipient, http.target.authority)
        if key not in self._heads:
            users = self._stage.users
            sender = users[(recipient + 1) % len(users)]
            path = f"/v1/messages/{users[recipient].id}"
            kind = "application/x-protobuf"
            self._heads[key] = head("POST", path, http.target, self._ledger.body_bytes, sender.token, kind)
        return self._heads[key]
