"""`login`: users log in with their passwords."""

from obscura.bench.errors import BenchError
from obscura.bench.scenario_context import ScenarioContext
from obscura.bench.users import user_id
from obscura.client.errors import ExchangeError
from obscura.client.http import HttpConnection, json_request


class Login:
    operations: tuple[str, ...] = ("login",)

    def __init__(self, context: ScenarioContext) -> None:
        self._context = context

    async def prepare(self) -> None:
        if not all(user.password for user in self._context.users):
            raise BenchError("login needs accounts with a username and a password")

    async def run(self) -> None:
        await self._context.run_concurrently(self.operate)

    async def finish(self) -> None:
        pass

    def counts(self) -> None:
        return None

    async def operate(self, http: HttpConnection, turn: int, started: float) -> None:
        user = self._context.users[turn % len(self._context.users)]
        body = {"username": user.name, "password": user.password}
        request = json_request(http.target, "POST", "/v1/sessions", body)
        answer = (await http.exchange(request)).expect(200).json()
        if user_id(answer) != user.id:
            raise ExchangeError("logged in as somebody else")
        self._context.recorder.completed("login", started)
