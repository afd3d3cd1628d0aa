"""One person at the relay: a client that does what docs/clients/ tells client authors, and notes what it sees."""

import asyncio
from collections.abc import Callable

from obscura.v1.obscura_pb2 import Envelope
from tests.faults.account import Account, Backoff, World
from tests.faults.history import Attempt, Outcome, Seen, Sent, SocketLife
from tests.faults.http import HttpConnection, NotSentError
from tests.faults.websocket import GatewaySocket, RefusedError
from tests.support.client import encrypted

PATIENCE_SECS = 60.0  # after which a message is given up
_MOVES = 0.02  # the share of messages before which the sender changes its door
_CONTENT_BYTES = 200


class Person(Account):
    """An account that writes, and keeps a socket open.

    Attributes:
        door: Where it sends its messages.
        inbox: The numbers of the messages seen so far in this round.
    """

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self._posts = HttpConnection()
        self._socket: GatewaySocket | None = None
        self._life: SocketLife | None = None
        self._connecting: asyncio.Task[None] | None = None
        self.door = world.random.choice(world.doors)
        self.inbox: set[int] = set()

    # Messages out.

    async def send(self, message: Sent) -> None:
        """Send one message until it has its 201, a refusal for good, or patience ends."""
        world = self._world
        world.history.sent[message.number] = message
        deadline = world.now() + PATIENCE_SECS
        backoff = Backoff(world)
        doors_tried = 0
        if world.random.random() < _MOVES:
            self.door = world.random.choice(world.doors)
        while world.now() < deadline:
            token = await self.token()
            attempt, retry_after_secs = await self._post(message, token)
            if attempt.status == 401:
                self._on_unauthorized(token, attempt.began, "at a message")
                continue
            message.attempts.append(attempt)
            if attempt.outcome in (Outcome.STORED, Outcome.WRONG):
                return
            self.door = world.doors[(world.doors.index(self.door) + 1) % len(world.doors)]
            doors_tried += 1
            if attempt.outcome is not Outcome.NOT_SENT or doors_tried % len(world.doors) == 0:
                await backoff.pause(retry_after_secs)

    async def _post(self, message: Sent, token: str) -> tuple[Attempt, float]:
        began, door, status, retry_after_secs = self._world.now(), self.door, 0, 0.0
        headers = f"Idempotency-Key: {message.number}-{self.id[:8]}\r\n" if message.keyed else ""
        target, body = f"/v1/messages/{message.recipient}", encrypted(b"%*d" % (_CONTENT_BYTES, message.number))
        try:
            reply = await self._posts.ask(door.port, "POST", target, token=token, body=body, headers=headers)
        except NotSentError:
            outcome = Outcome.NOT_SENT
        except ConnectionError:
            outcome = Outcome.UNKNOWN
        else:
            status, retry_after_secs = reply.status, reply.retry_after_secs if reply.status in (429, 503) else 0.0
            outcome = {201: Outcome.STORED, 503: Outcome.REFUSED}.get(status, Outcome.WRONG)
        return Attempt(door.name, began, self._world.now(), outcome, status), retry_after_secs

    # Messages in.

    def connect(self) -> None:
        """Keep a socket open until `disconnect`."""
        if self._connecting is None:
            self._connecting = asyncio.create_task(self._stay_connected())

    async def disconnect(self) -> None:
        """Close the socket in order."""
        if self._connecting is not None:
            self._connecting.cancel()
            [end] = await asyncio.gather(self._connecting, return_exceptions=True)
            self._connecting = None
            if not isinstance(end, asyncio.CancelledError):
                self._world.history.surprises.append(f"a client gave up: {end!r}")

    async def reconnect(self) -> None:
        await self.disconnect()
        self.connect()

    async def leave(self) -> None:
        """Let go of everything at once."""
        if self._socket is not None:
            self._socket.abort()
        await self.disconnect()
        self._posts.close()
        await super().leave()

    @property
    def socket_life(self) -> SocketLife | None:
        """The open socket's record."""
        return self._life if self._life is not None and self._life.ended is None else None

    async def _stay_connected(self) -> None:
        world = self._world
        backoff = Backoff(world)
        while True:
            pause_secs = await self._open_somewhere()
            if pause_secs is not None:
                await backoff.pause(pause_secs)
                continue
            assert self._socket is not None
            try:
                await asyncio.wait([self._socket.ended], timeout=world.random.expovariate(1 / world.churn_secs))
                if not self._socket.ended.done():
                    await self._leave_socket()
                    continue
            except asyncio.CancelledError:
                await self._leave_socket()
                raise
            finally:
                self._note_end()
            if self._socket.close_code in (4001, 4003):
                world.history.surprises.append(f"a socket was closed with {self._socket.close_code}")
            backoff = Backoff(world)
            await backoff.pause()

    async def _open_somewhere(self) -> float | None:
        """Try the doors in turn. None: there is a socket; else the least to wait before the next attempt."""
        world, began = self._world, self._world.now()
        for door in world.shuffled_doors():
            token, asked = await self.token(), world.now()
            socket = GatewaySocket(self._take, self._on_shortage)
            world.socket_number += 1
            life = SocketLife(world.socket_number, self.id, door.name, asked, asked, reconnecting=began)
            world.history.sockets[life.number] = life
            self._socket, self._life = socket, life
            try:
                await socket.open(door.port, token)
            except RefusedError as refusal:
                life.ended = world.now()
                life.status = refusal.status
                if refusal.status == 401:
                    self._on_unauthorized(token, asked, "at the gateway")
                return refusal.retry_after_secs
            except OSError:
                del world.history.sockets[life.number]
                continue
            life.opened, life.status = world.now(), 101
            return None
        return 0.0

    async def _leave_socket(self) -> None:
        assert self._life is not None
        assert self._socket is not None
        self._life.is_left = True
        await self._socket.close()

    async def open_socket(self, port: int, take: Callable[[GatewaySocket, Envelope], bool]) -> GatewaySocket:
        """A socket beside the one that is kept open, not noted anywhere; tried again while the node refuses."""
        backoff = Backoff(self._world)
        while True:
            socket = GatewaySocket(take, self._on_shortage)
            try:
                await socket.open(port, await self.token())
            except RefusedError as refusal:
                if refusal.status not in (0, 503):
                    raise
                await backoff.pause(refusal.retry_after_secs)
            else:
                return socket

    def _note_end(self) -> None:
        assert self._life is not None
        assert self._socket is not None
        self._life.ended = self._world.now()
        self._life.close_code = self._socket.close_code
        self._life.is_flushed = self._socket.is_orderly

    def _take(self, socket: GatewaySocket, envelope: Envelope) -> bool:
        world, life = self._world, self._life
        if life is None or socket is not self._socket:
            return False
        number = int(envelope.message.content)
        world.history.seen.append(Seen(life.number, self.id, envelope.id, number, world.now()))
        is_new = number not in self.inbox
        self.inbox.add(number)
        if socket.said_goodbye or (is_new and world.random.random() < world.withheld):
            return False
        life.acked.add(envelope.id)
        return True
