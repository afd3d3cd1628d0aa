"""`idle`: sockets that are opened and left alone."""

import asyncio
from itertools import count

from obscura.bench.errors import BenchError
from obscura.bench.scenario_context import ScenarioContext, Schedule
from obscura.bench.users import advice
from obscura.client.errors import ExchangeError
from obscura.client.websocket import WebSocket

FIRST = 100  # sockets opened before the clock starts: they bring in pages that all others share


class Idle:
    """The sockets are opened as fast as ``concurrency`` or ``rate`` says, then held for the duration."""

    operations: tuple[str, ...] = ("connect",)

    def __init__(self, context: ScenarioContext) -> None:
        self._context = context
        self._sockets: list[WebSocket] = []
        self._numbers = count()

    async def prepare(self) -> None:
        """Open the first sockets; `BenchError` if one is refused, since all are to be silent from here on."""
        first = min(FIRST, self._context.options.sockets // 2)
        try:
            for _ in range(first):
                await self._open(next(self._numbers))
        except ExchangeError as error:
            raise BenchError(f"a socket could not be opened: {error}{advice(str(error))}") from None

    async def run(self) -> None:
        schedule = Schedule(self._context.options, self._context.recorder.window)
        await asyncio.gather(*(self._open_some(schedule) for _ in range(self._context.options.concurrency)))
        await asyncio.sleep(self._context.options.duration_secs)

    async def finish(self) -> None:
        for socket in self._sockets:
            if not socket.is_open:
                self._context.recorder.failed(f"socket closed: {socket.close_code}")
            socket.abort()

    def counts(self) -> None:
        return None

    async def _open_some(self, schedule: Schedule) -> None:
        while (number := next(self._numbers)) < self._context.options.sockets:
            started = await schedule.next_start()
            try:
                await self._open(number)
            except ExchangeError as error:
                self._context.recorder.failed(str(error))
            else:
                self._context.recorder.completed("connect", started)

    async def _open(self, number: int) -> None:
        user = self._context.users[number % len(self._context.users)]
        self._sockets.append(await self._context.open_socket(number, user, _ignore))


def _ignore(_socket: WebSocket, _messages: list[bytes]) -> None:
    """A pre-key status, perhaps, or what waited for the user from before."""
