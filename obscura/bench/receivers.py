"""The sockets of all users of a process: take messages, ack them, and prove at the end that nothing was left."""

import asyncio
from collections.abc import Callable

from obscura.bench.message_tracker import MessageTracker, Received
from obscura.bench.recorder import now
from obscura.bench.scenario_context import ScenarioContext
from obscura.bench.sender import Sender
from obscura.client.errors import ExchangeError
from obscura.client.frames import ack
from obscura.client.websocket import WebSocket

_POLL_SECS = 0.02
_AT_ONCE = 100


class Receivers:
    """One socket for each user; ``on_delivery`` hears the number of each message that came for the first time."""

    def __init__(self, context: ScenarioContext, tracker: MessageTracker, on_delivery: Callable[[int], None]) -> None:
        self._context = context
        self._tracker = tracker
        self._on_delivery = on_delivery
        self._sockets: list[WebSocket] = []

    async def open(self) -> None:
        """Connect all users; `ExchangeError` if one is refused."""
        for first in range(0, len(self._context.users), _AT_ONCE):
            last = min(first + _AT_ONCE, len(self._context.users))
            await asyncio.gather(*(self.open_one(index) for index in range(first, last)))

    async def open_one(self, index: int) -> None:
        """Connect one user."""
        self._sockets.append(await self._context.open_socket(index, self._context.users[index], self._take))

    async def drain(self) -> None:
        """Wait until all that was accepted has come, as long as the timeout allows; then hang up."""
        deadline = now() + self._context.options.timeout_secs
        while not self._tracker.drained() and now() < deadline:  # noqa: ASYNC110  an event would cost each message
            await asyncio.sleep(_POLL_SECS)
        for socket in self._sockets:
            if not socket.is_open:
                self._context.recorder.failed(f"socket closed: {socket.close_code}")
        await asyncio.gather(*(socket.close(self._context.options.timeout_secs) for socket in self._sockets))

    async def audit(self, sender: Sender) -> None:
        """Connect once more: whatever comes before a last message of ours was not acked, or had been lost.

        Messages to one user arrive in the order in which they were stored, so that
        nothing can be behind the last one, and there is no waiting for silence.
        """
        for first in range(0, len(self._context.users), _AT_ONCE):
            indices = range(first, min(first + _AT_ONCE, len(self._context.users)))
            results = await asyncio.gather(
                *(self._audit_one(index, sender) for index in indices), return_exceptions=True
            )
            for result in results:
                if isinstance(result, ExchangeError):
                    self._context.recorder.failed(f"audit: {result}")
                elif isinstance(result, BaseException):
                    raise result

    async def _audit_one(self, index: int, sender: Sender) -> None:
        last = self._tracker.open_marker()
        came = asyncio.Event()

        def take(socket: WebSocket, messages: list[bytes]) -> None:
            for received in self._read(messages):
                if received.number == last:
                    came.set()
                elif received.number is not None:
                    self._tracker.delivered_again(received.number)
                socket.write(ack(received.envelope_id))

        http = self._context.connect(index)
        try:
            await sender.post(http, index, last)
        finally:
            http.close()
        socket = await self._context.open_socket(index, self._context.users[index], take)
        try:
            async with asyncio.timeout(self._context.options.timeout_secs):
                await came.wait()
        except TimeoutError:
            raise ExchangeError("the last message did not come") from None
        finally:
            await socket.close(self._context.options.timeout_secs)

    def _take(self, socket: WebSocket, messages: list[bytes]) -> None:
        acks = []
        for received in self._read(messages):
            if received.number is not None and self._tracker.delivered(received.number):
                self._on_delivery(received.number)
            acks.append(ack(received.envelope_id))
        if acks:
            socket.write(b"".join(acks))

    def _read(self, messages: list[bytes]) -> list[Received]:
        found = []
        for message in messages:
            try:
                received = self._tracker.read(message)
            except ExchangeError as error:
                self._context.recorder.failed(str(error))
            else:
                if received is not None:
                    found.append(received)
        return found
