"""Posts messages of the tracker from one user to another."""

from obscura.bench.message_tracker import MessageTracker
from obscura.bench.scenario_context import ScenarioContext
from obscura.client.http import HttpConnection, bearer, request_head


class Sender:
    """Posts messages from one user to the next, with heads that are built once."""

    def __init__(self, context: ScenarioContext, tracker: MessageTracker) -> None:
        self._context = context
        self._tracker = tracker
        self._heads: dict[tuple[int, str], bytes] = {}

    async def post(self, http: HttpConnection, recipient: int, number: int) -> None:
        """Send a message of the tracker to one of the users; `ExchangeError` if it was not taken."""
        answer = await http.exchange(self._head(http, recipient) + self._tracker.body(number))
        answer.expect(201)
        self._tracker.accepted(number)

    def _head(self, http: HttpConnection, recipient: int) -> bytes:
        key = (recipient, http.target.authority)
        if key not in self._heads:
            users = self._context.users
            sender = users[(recipient + 1) % len(users)]
            path = f"/v1/messages/{users[recipient].id}"
            headers = bearer(sender.token) | {"Content-Type": "application/x-protobuf"}
            self._heads[key] = request_head(http.target, "POST", path, self._tracker.body_bytes, headers)
        return self._heads[key]
