"""`mixed`: what the users of a messenger do, all at once."""

from obscura.bench.message_tracker import MessageCounts
from obscura.bench.scenario_context import ScenarioContext
from obscura.bench.scenarios.attachments import Attachments
from obscura.bench.scenarios.bundles import Bundles
from obscura.bench.scenarios.login import Login
from obscura.bench.scenarios.relay import Relay
from obscura.client.http import HttpConnection

_ATTACHMENT_BYTES = 65_536
_ROUND = 50  # operations, of which these are something else than a message
_FETCHES, _ATTACHMENT, _LOGIN = {7, 19, 31, 43}, {13, 38}, {25}


class Mixed:
    """Of 50 operations 43 are messages, 4 fetches of a bundle, 2 attachments of 64 KiB and 1 a login."""

    operations: tuple[str, ...] = Relay.operations + Bundles.operations + Attachments.operations + Login.operations

    def __init__(self, context: ScenarioContext) -> None:
        self._context = context
        self._relay = Relay(context)
        self._bundles = Bundles(context)
        self._attachments = Attachments(context, _ATTACHMENT_BYTES)
        self._login = Login(context)

    async def prepare(self) -> None:
        await self._login.prepare()
        await self._relay.prepare()

    async def run(self) -> None:
        await self._context.run_concurrently(self._operate)

    async def finish(self) -> None:
        await self._relay.finish()

    def counts(self) -> MessageCounts:
        return self._relay.counts()

    async def _operate(self, http: HttpConnection, turn: int, started: float) -> None:
        place = turn % _ROUND
        part: Relay | Bundles | Attachments | Login = self._relay
        if place in _FETCHES:
            part = self._bundles
        elif place in _ATTACHMENT:
            part = self._attachments
        elif place in _LOGIN:
            part = self._login
        await part.operate(http, turn, started)
