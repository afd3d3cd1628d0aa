"""An account at the relay: its device's keys, its tokens, and what it hears of them."""

import asyncio
import json
import random
import secrets
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from obscura.client.device_keys import Device, one_time_keys
from obscura.client.errors import ExchangeError, NotSentError
from obscura.client.http import Reply
from obscura.client.tokens import claims_of
from tests.faults.history import History, Judgement, KeyTaken, SessionLife
from tests.faults.http import JSON, LocalConnection
from tests.support.client import PASSWORD

BACKOFF_UNIT_SECS = 0.1  # docs/clients/gateway.md has 1 s and its most 60 s: here faults come closer together
BACKOFF_MAX_SECS = 1.0
WITHHELD = 0.01
_REFILL = 50


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where clients come in: a node, or a balancer."""

    name: str
    port: int


@dataclass
class Environment:
    """What all persons share.

    Attributes:
        endpoints: In an order that means nothing; a client that finds nobody at one tries the next at once.
        withheld: The share of envelopes that are not acked when they are first seen.
        churn_secs: After so long a client closes its socket and opens another one, on average.
    """

    endpoints: Sequence[Endpoint]
    random: random.Random
    history: History = field(default_factory=History)
    withheld: float = WITHHELD
    churn_secs: float = 4.0
    socket_number: int = 0
    now: Callable[[], float] = field(default_factory=lambda: asyncio.get_running_loop().time)

    def after(self, endpoint: Endpoint) -> Endpoint:
        """The next one, in the order of all."""
        return self.endpoints[(self.endpoints.index(endpoint) + 1) % len(self.endpoints)]

    def shuffled_endpoints(self) -> list[Endpoint]:
        return self.random.sample(self.endpoints, len(self.endpoints))


@dataclass(slots=True)
class Tokens:
    """What a login gave."""

    access: str
    refresh: str
    refresh_after: float  # when the client asks for new ones
    expires: float

    @property
    def session(self) -> str:
        return str(claims_of(self.access)["sid"])


class Backoff:
    """Waits between attempts, as docs/clients/gateway.md says."""

    def __init__(self, environment: Environment) -> None:
        self._random = environment.random
        self._attempts = 0

    async def pause(self, at_least_secs: float = 0.0) -> None:
        self._attempts += 1
        most = min(BACKOFF_MAX_SECS, BACKOFF_UNIT_SECS * 2**self._attempts)
        await asyncio.sleep(at_least_secs + self._random.uniform(0, most))


class Account:
    """An account and its device."""

    def __init__(self, environment: Environment) -> None:
        self._environment = environment
        self._device = Device()
        self._name = f"person-{secrets.token_hex(8)}"
        self._calls = LocalConnection()
        self._tokens: Tokens | None = None
        self._refreshing = asyncio.Lock()
        self._refilling: asyncio.Task[None] | None = None
        self._key_id = self._signed_id = 1
        self.id = ""

    async def leave(self) -> None:
        """Let go of everything at once."""
        if self._refilling is not None:
            self._refilling.cancel()
            await asyncio.gather(self._refilling, return_exceptions=True)
        self._calls.close()

    # Accounts and tokens.

    async def register(self) -> None:
        body = self._device.takeover(1, self._new_keys()) | {"username": self._name, "password": PASSWORD}
        began = self._environment.now()
        reply = await self._patiently("POST", "/v1/users", body)
        assert reply.status == 201, reply
        self._take_tokens(reply, began)
        assert self._tokens is not None
        self.id = str(claims_of(self._tokens.access)["sub"])

    @property
    def identity_key(self) -> str:
        return self._device.identity_key

    async def token(self) -> str:
        """An access token that holds, refreshed when its time comes."""
        if self._tokens is None or self._environment.now() >= self._tokens.refresh_after:
            async with self._refreshing:
                if self._tokens is None or self._environment.now() >= self._tokens.refresh_after:
                    await self._refresh()
        assert self._tokens is not None
        return self._tokens.access

    @property
    def session(self) -> str:
        assert self._tokens is not None
        return self._tokens.session

    async def _refresh(self) -> None:
        assert self._tokens is not None
        began, session = self._environment.now(), self._tokens.session
        reply = await self._patiently("POST", "/v1/sessions/refresh", {"refreshToken": self._tokens.refresh})
        if reply.status == 200:
            self._take_tokens(reply, began)
            return
        self._judge(session, began, accepted=False, where="at a refresh")
        reply = await self._patiently("POST", "/v1/sessions", {"username": self._name, "password": PASSWORD})
        assert reply.status == 200, reply
        self._take_tokens(reply, began)

    def _take_tokens(self, reply: Reply, asked: float) -> None:
        body, now = reply.json(), self._environment.now()
        life_secs = body["expiresAt"] - time.time()
        self._tokens = Tokens(body["token"], body["refreshToken"], now + 0.6 * life_secs, now + life_secs - 1)
        self._environment.history.sessions.setdefault(self._tokens.session, SessionLife(began=now))

    def _judge(self, session: str, asked: float, *, accepted: bool, where: str) -> None:
        self._environment.history.judgements.append(Judgement(session, asked, self._environment.now(), accepted, where))

    def _on_unauthorized(self, token: str, asked: float, where: str) -> None:
        """A 401 means that the token holds no longer; one that is too old does not count."""
        if self._tokens is None or self._tokens.access != token:
            return
        if self._environment.now() < self._tokens.expires:
            self._judge(self._tokens.session, asked, accepted=False, where=where)
        self._tokens.refresh_after = 0.0

    async def _patiently(self, method: str, target: str, body: dict[str, object]) -> Reply:
        """Ask until there is an answer that is no 503."""
        backoff = Backoff(self._environment)
        while True:
            at_least_secs = 0.0
            for endpoint in self._environment.shuffled_endpoints():
                try:
                    reply = await self._calls.ask(
                        endpoint.port, method, target, body=json.dumps(body).encode(), headers=JSON
                    )
                except NotSentError:
                    continue  # the next endpoint
                except ExchangeError:
                    break
                if reply.status not in (429, 503):
                    return reply
                at_least_secs = reply.retry_after_secs or 1
                break
            await backoff.pause(at_least_secs)

    # Keys.

    async def take_key_of(self, other: "Account") -> None:
        """Fetch somebody's bundle, once."""
        endpoint = self._environment.random.choice(self._environment.endpoints)
        token = await self.token()
        with suppress(ExchangeError):
            reply = await self._calls.ask(endpoint.port, "GET", f"/v1/keys/{other.id}", token=token)
            if reply.status == 200 and (key := reply.json().get("oneTimePreKey")):
                self._environment.history.keys.append(KeyTaken(other.id, key["publicKey"], self._environment.now()))
            elif reply.status not in (200, 401, 503):
                self._environment.history.surprises.append(f"a bundle was answered {reply.status}")

    def _on_shortage(self, _count: int) -> None:
        if self._refilling is None or self._refilling.done():
            self._refilling = asyncio.create_task(self._refill())

    async def _refill(self) -> None:
        self._signed_id += 1
        body = json.dumps(self._device.upload(self._signed_id, self._new_keys())).encode()
        connection = LocalConnection()
        with suppress(ExchangeError):  # the server will say again that keys run low
            port = self._environment.random.choice(self._environment.endpoints).port
            await connection.ask(port, "POST", "/v1/keys", token=await self.token(), body=body, headers=JSON)
        connection.close()

    def _new_keys(self) -> list[dict[str, object]]:
        first, self._key_id = self._key_id, self._key_id + _REFILL
        return one_time_keys(first, _REFILL)
