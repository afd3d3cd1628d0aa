"""`bundles`: pre-key bundles are fetched; who has no one-time key left makes room for a new user."""

from obscura.bench.recorder import now
from obscura.bench.scenario_context import ScenarioContext
from obscura.bench.users import Registrar
from obscura.client.errors import ExchangeError
from obscura.client.http import HttpConnection, request_head

_FIELDS = {"registrationId", "identityKey", "signedPreKey"}


class Bundles:
    """Checks that no one-time key is handed out twice."""

    operations: tuple[str, ...] = ("fetch", "register")

    def __init__(self, context: ScenarioContext) -> None:
        self._context = context
        self._users = list(context.users)
        self._registrar = Registrar()
        self._handed_out: set[tuple[str, int]] = set()
        self._being_replaced: set[int] = set()

    async def prepare(self) -> None:
        pass

    async def run(self) -> None:
        await self._context.run_concurrently(self.operate)

    async def finish(self) -> None:
        pass

    def counts(self) -> None:
        return None

    async def operate(self, http: HttpConnection, turn: int, started: float) -> None:
        index = turn % len(self._users)
        user = self._users[index]
        answer = (await http.exchange(request_head(http.target, "GET", f"/v1/keys/{user.id}"))).expect(200).json()
        if not answer.keys() >= _FIELDS:
            raise ExchangeError("bundle is not whole")
        self._context.recorder.completed("fetch", started)
        one_time = answer.get("oneTimePreKey")
        if one_time is None:
            await self._replace(http, index)
            return
        key = (user.id, one_time["keyId"])
        if key in self._handed_out:
            raise ExchangeError("one-time key handed out twice")
        self._handed_out.add(key)

    async def _replace(self, http: HttpConnection, index: int) -> None:
        """Register a user in the place of one whose keys are used up; one operation does, the others go on."""
        if index in self._being_replaced:
            return
        self._being_replaced.add(index)
        try:
            started = now()
            self._users[index] = await self._registrar.register(http)
            self._context.recorder.completed("register", started)
        finally:
            self._being_replaced.discard(index)
