"""`idle`: sockets that are opened and left alone."""

import asyncio
from itertools import count

from obscura.bench.failure import BenchError, ExchangeError
from obscura.bench.scenario_context import Schedule, Stage
from obscura.bench.users import advice
from obscura.client.websocket import WebSocket

FIRST = 100  # sockets opened before the clock starts: they bring in pages that all others share


class Idle:
    """The sockets are opened as fast as ``concurrency`` or ``rate`` says, then held for the duration."""

    operations: tuple[str, ...] = ("connect",)

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self._sockets: list[WebSocket] = []
        self._numbers = count()

    async def prepare(self) -> None:
        """Open the first sockets; `BenchError` if one is refused, since all are to be silent from here on."""
        first = min(FIRST, self._stage.options.sockets // 2)
        try:
            for _ in range(first):
                await self._open(next(self._numbers))
        except ExchangeError as error:
            raise BenchError(f"a socket could not be opened: {error}{advice(str(error))}") from None

    async def run(self) -> None:
        schedule = Schedule(self._stage.options, self._stage.recorder.window)
        await asyncio.gather(*(self._lane(schedule) for _ in range(self._stage.options.concurrency)))
        await asyncio.sleep(self._stage.options.duration_secs)

    async def finish(self) -> None:
        for socket in self._sockets:
            if not socket.is_open:
                self._stage.recorder.failed(f"socket closed: {socket.close_code}")
            socket.abort()

    def account(self) -> None:
        return None

    async def _lane(self, schedule: Schedule) -> None:
        while (number := next(self._numbers)) < self._stage.options.sockets:
            started = await schedule.next_start()
            try:
                await self._open(number)
            except ExchangeError as error:
                self._stage.recorder.failed(str(error))
            else:
                self._stage.recorder.completed("connect", started)

    async def _open(self, number: int) -> None:
        user = self._stage.users[number % len(self._stage.users)]
        self._sockets.append(await self._stage.open_socket(number, user, _ignore))


def _ignore(_socket: WebSocket, _messages: list[bytes]) -> None:
    """A pre-key status, perhaps, or what waited for the user from before."""
