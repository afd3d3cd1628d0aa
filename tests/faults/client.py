"""One person at the relay: a client that does what docs/clients/ tells client authors, and notes what it sees."""

import asyncio
from collections.abc import Callable

from obscura.client.errors import ExchangeError, NotSentError
from obscura.v1.obscura_pb2 import Envelope
from tests.faults.account import Account, Backoff, Environment
from tests.faults.history import Attempt, Outcome, Seen, Sent, SocketLife
from tests.faults.http import LocalConnection
from tests.faults.websocket import GatewaySocket, retry_after_secs, status_of
from tests.support.client import encrypted

PATIENCE_SECS = 60.0  # after which a message is given up
_MOVES = 0.02  # the share of messages before which the sender changes its endpoint
_CONTENT_BYTES = 200


class Person(Account):
    """An account that writes, and keeps a socket open.

    Attributes:
        endpoint: Where it sends its messages.
        inbox: The numbers of the messages seen so far in this round.
    """

    def __init__(self, environment: Environment) -> None:
        super().__init__(environment)
        self._posts = LocalConnection()
        self._socket: GatewaySocket | None = None
        self._life: SocketLife | None = None
        self._connecting: asyncio.Task[None] | None = None
        self.endpoint = environment.random.choice(environment.endpoints)
        self.inbox: set[int] = set()

    # Messages out.

    async def send(self, message: Sent) -> None:
        """Send one message until it has its 201, a refusal for good, or patience ends."""
        environment = self._environment
        environment.history.sent[message.number] = message
        deadline = environment.now() + PATIENCE_SECS
        backoff = Backoff(environment)
        endpoints_tried = 0
        if environment.random.random() < _MOVES:
            self.endpoint = environment.random.choice(environment.endpoints)
        while environment.now() < deadline:
            token = await self.token()
            attempt, wait_secs = await self._post(message, token)
            if attempt.status == 401:
                self._on_unauthorized(token, attempt.began, "at a message")
                continue
            message.attempts.append(attempt)
            if attempt.outcome in (Outcome.STORED, Outcome.WRONG):
                return
            self.endpoint = environment.after(self.endpoint)
            endpoints_tried += 1
            if attempt.outcome is not Outcome.NOT_SENT or endpoints_tried % len(environment.endpoints) == 0:
                await backoff.pause(wait_secs)

    async def _post(self, message: Sent, token: str) -> tuple[Attempt, float]:
        began, endpoint, status, wait_secs = self._environment.now(), self.endpoint, 0, 0.0
        headers = {"Idempotency-Key": f"{message.number}-{self.id[:8]}"} if message.keyed else {}
        target, body = f"/v1/messages/{message.recipient}", encrypted(b"%*d" % (_CONTENT_BYTES, message.number))
        try:
            reply = await self._posts.ask(endpoint.port, "POST", target, token=token, body=body, headers=headers)
        except NotSentError:
            outcome = Outcome.NOT_SENT
        except ExchangeError:
            outcome = Outcome.UNKNOWN
        else:
            status = reply.status
            wait_secs = (reply.retry_after_secs or 1.0) if status in (429, 503) else 0.0
            outcome = {201: Outcome.STORED, 503: Outcome.REFUSED}.get(status, Outcome.WRONG)
        return Attempt(endpoint.name, began, self._environment.now(), outcome, status), wait_secs

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
                self._environment.history.surprises.append(f"a client gave up: {end!r}")

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
        environment = self._environment
        backoff = Backoff(environment)
        while True:
            pause_secs = await self._open_somewhere()
            if pause_secs is not None:
                await backoff.pause(pause_secs)
                continue
            assert self._socket is not None
            try:
                await asyncio.wait(
                    [self._socket.ended], timeout=environment.random.expovariate(1 / environment.churn_secs)
                )
                if not self._socket.ended.done():
                    await self._leave_socket()
                    continue
            except asyncio.CancelledError:
                await self._leave_socket()
                raise
            finally:
                self._note_end()
            if self._socket.close_code in (4001, 4003):
                environment.history.surprises.append(f"a socket was closed with {self._socket.close_code}")
            backoff = Backoff(environment)
            await backoff.pause()

    async def _open_somewhere(self) -> float | None:
        """Try the endpoints in turn. None: there is a socket; else the least to wait before the next attempt."""
        environment, began = self._environment, self._environment.now()
        for endpoint in environment.shuffled_endpoints():
            token, asked = await self.token(), environment.now()
            socket = GatewaySocket(self._take, self._on_shortage)
            environment.socket_number += 1
            life = SocketLife(environment.socket_number, self.id, endpoint.name, asked, asked, reconnecting=began)
            environment.history.sockets[life.number] = life
            self._socket, self._life = socket, life
            try:
                await socket.open(endpoint.port, token)
            except NotSentError:
                del environment.history.sockets[life.number]
                continue
            except ExchangeError as error:
                life.ended = environment.now()
                life.status = status_of(error)
                if life.status == 401:
                    self._on_unauthorized(token, asked, "at the gateway")
                return retry_after_secs(error)
            life.opened, life.status = environment.now(), 101
            return None
        return 0.0

    async def _leave_socket(self) -> None:
        assert self._life is not None
        assert self._socket is not None
        self._life.is_left = True
        await self._socket.close()

    async def open_socket(self, port: int, take: Callable[[GatewaySocket, Envelope], bool]) -> GatewaySocket:
        """A socket beside the one that is kept open, not noted anywhere; tried again while the node refuses."""
        backoff = Backoff(self._environment)
        while True:
            socket = GatewaySocket(take, self._on_shortage)
            try:
                await socket.open(port, await self.token())
            except NotSentError:
                raise
            except ExchangeError as error:
                if status_of(error) not in (0, 503):
                    raise
                await backoff.pause(retry_after_secs(error))
            else:
                return socket

    def _note_end(self) -> None:
        assert self._life is not None
        assert self._socket is not None
        self._life.ended = self._environment.now()
        self._life.close_code = self._socket.close_code
        self._life.is_flushed = self._socket.is_orderly

    def _take(self, socket: GatewaySocket, envelope: Envelope) -> bool:
        environment, life = self._environment, self._life
        if life is None or socket is not self._socket:
            return False
        number = int(envelope.message.content)
        environment.history.seen.append(Seen(life.number, self.id, envelope.id, number, environment.now()))
        is_new = number not in self.inbox
        self.inbox.add(number)
        if socket.has_sent_close or (is_new and environment.random.random() < environment.withheld):
            return False
        life.acked.add(envelope.id)
        return True
