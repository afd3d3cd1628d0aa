"""The users of a bench: registered for it, read from a file, or fake ones for a bare server."""

import asyncio
import json
import secrets
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from obscura.bench.errors import BenchError
from obscura.client.device_keys import Device, one_time_keys
from obscura.client.errors import ExchangeError
from obscura.client.http import HttpConnection, json_request
from obscura.client.tokens import claims_of

ONE_TIME_KEYS = 100
_MAX_REGISTRATIONS_AT_ONCE = 8
_REFERENCE_TOKEN = "x" * 240  # as long as a token, so that the bare server reads as much

Connect = Callable[[int], HttpConnection]


@dataclass(frozen=True, slots=True)
class User:
    """An account that is logged in. Its token is not to be shown."""

    id: str
    token: str
    name: str
    password: str

    def __repr__(self) -> str:
        return f"User({self.id})"


class Registrar:
    """Registers users, all with the same device's keys."""

    def __init__(self) -> None:
        self._keys = Device().takeover(1, one_time_keys(1, ONE_TIME_KEYS))

    async def register(self, http: HttpConnection, lasts_secs: float = 0) -> User:
        """Make an account whose token is good for ``lasts_secs`` more seconds.

        Raises:
            ExchangeError: The server refused, or answered with something else.
            BenchError: Its tokens do not last that long.
        """
        name, password = f"bench-{secrets.token_hex(10)}", secrets.token_urlsafe(18)
        body = self._keys | {"username": name, "password": password}
        request = json_request(http.target, "POST", "/v1/users", body)
        answer = (await http.exchange(request)).expect(201).json()
        if answer.get("expiresAt", float("inf")) < time.time() + lasts_secs:
            raise BenchError(
                "the server's access tokens end before the bench does: "
                "measure for less long, or raise OBSCURA_ACCESS_TOKEN_TTL_SECS"
            )
        return User(user_id(answer), answer["token"], name, password)


def user_id(answer: dict[str, Any]) -> str:
    """The ``sub`` claim of the token in an answer; `ExchangeError` if there is none."""
    try:
        return str(claims_of(answer["token"])["sub"])
    except (KeyError, ValueError, AttributeError):
        raise ExchangeError("answer holds no access token") from None


async def register_all(count: int, connect: Connect, lasts_secs: float) -> list[User]:
    """Make accounts, some at a time.

    Raises:
        BenchError: One was refused, with the reason.
    """
    registrar = Registrar()

    async def register_some(first: int, step: int) -> list[User]:
        http = connect(first)
        try:
            return [await registrar.register(http, lasts_secs) for _ in range(first, count, step)]
        except ExchangeError as error:
            raise BenchError(f"{http.target}: a user could not be registered: {error}{advice(str(error))}") from None
        finally:
            http.close()

    at_once = min(count, _MAX_REGISTRATIONS_AT_ONCE)
    made = await asyncio.gather(*(register_some(first, at_once) for first in range(at_once)))
    return [user for users in made for user in users]


def fake_users(count: int) -> list[User]:
    """Users of a server that asks for none."""
    return [User(str(uuid4()), _REFERENCE_TOKEN, "", "") for _ in range(count)]


def read_users(file: Path) -> list[User]:
    """Read ``{"id": …, "token": …, "username": …, "password": …}``, one a line; the last two may be left out.

    Raises:
        BenchError: A line is something else.
    """
    try:
        return list(_users_in(file.read_text().splitlines()))
    except (ValueError, KeyError, TypeError, OSError):
        raise BenchError(f"{file} does not hold one account as JSON on each line") from None


def _users_in(lines: Iterable[str]) -> Iterable[User]:
    for line in filter(None, lines):
        given = json.loads(line)
        yield User(given["id"], given["token"], given.get("username", ""), given.get("password", ""))


def advice(kind: str) -> str:
    """What to do about a failure, if that is known."""
    if kind != "HTTP 429":
        return ""
    return (
        "; the server limits requests per client, and a bench is one client: for the time of it, raise "
        "OBSCURA_AUTH_RATE_LIMIT_PER_SECOND and _BURST (users, logins), OBSCURA_RATE_LIMIT_PER_SECOND and _BURST "
        "(all else), OBSCURA_BUNDLE_RATE_LIMIT_PER_MINUTE and _BURST (bundles) and OBSCURA_MAX_SOCKETS_PER_ACCOUNT"
    )
