"""`echo`: frames as large as an envelope, to a bare server that sends them back."""

import asyncio
from collections import deque

from obscura.bench.errors import BenchError
from obscura.bench.message_tracker import MessageCounts, MessageTracker
from obscura.bench.recorder import now
from obscura.bench.scenario_context import ScenarioContext
from obscura.client.errors import ExchangeError
from obscura.client.frames import envelope
from obscura.client.websocket import WebSocket, frame

_IN_FLIGHT = 16  # frames of a socket: as a relay pushes a backlog, the server is never to wait for the client


class Echo:
    """One socket for each user, each with a few frames under way."""

    operations: tuple[str, ...] = ("echo",)

    def __init__(self, context: ScenarioContext) -> None:
        self._context = context
        self._payload = envelope(MessageTracker(context.options.size_bytes_for("echo")).body(0))
        self._frame = frame(self._payload)
        self._starts: dict[WebSocket, deque[float]] = {}
        self._counts = MessageCounts(delivered=0)

    async def prepare(self) -> None:
        try:
            for index, user in enumerate(self._context.users):
                socket = await self._context.open_socket(index, user, self._take)
                self._starts[socket] = deque()
        except ExchangeError as error:
            raise BenchError(f"a socket could not be opened: {error}") from None

    async def run(self) -> None:
        for socket in self._starts:
            self._send(socket, _IN_FLIGHT)
        await asyncio.sleep(self._context.recorder.window.until - now())

    async def finish(self) -> None:
        deadline = now() + self._context.options.timeout_secs
        while any(self._starts.values()) and now() < deadline:  # noqa: ASYNC110  an event would cost each frame
            await asyncio.sleep(0.01)
        self._counts.lost = sum(map(len, self._starts.values()))
        for socket in self._starts:
            socket.abort()

    def counts(self) -> MessageCounts:
        return self._counts

    def _send(self, socket: WebSocket, frames: int) -> None:
        self._starts[socket].extend([now()] * frames)
        self._counts.sent += frames
        self._counts.accepted += frames  # there is no other answer than the frame itself
        socket.write(self._frame * frames)

    def _take(self, socket: WebSocket, messages: list[bytes]) -> None:
        assert self._counts.delivered is not None
        starts = self._starts[socket]
        for message in messages:
            if message != self._payload or not starts:
                self._context.recorder.failed("frame was changed")
                continue
            self._counts.delivered += 1
            self._context.recorder.completed("echo", starts.popleft())
        if now() < self._context.recorder.window.until:
            self._send(socket, len(messages))
