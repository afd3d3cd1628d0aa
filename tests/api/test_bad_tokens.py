"""Tokens that do not hold: a 401 on every route that asks for one, and upgrades that are none."""

import base64
import time

import jwt
import pytest

from tests.conftest import JWT_SECRET
from tests.support.bad_requests import TOKEN_ROUTES, check_refusal, check_serving, request_bytes
from tests.support.client import User, exchange


def wrong_tokens(user: User) -> list[bytes]:
    claims = {"sub": user.id, "sid": user.session_id, "iat": int(time.time()), "exp": int(time.time()) + 60}
    head, payload, signature = user.token.split(".")
    no_algorithm = base64.urlsafe_b64encode(b'{"alg":"none","typ":"JWT"}').rstrip(b"=").decode()
    tokens = [
        "x",
        "a.b.c",
        "..",
        "." * 3000,
        "x" * 8000,
        user.refresh_token,
        f"{head}.{payload}",
        f"{head}.{payload}.",
        f"{head}.{payload}.{signature[::-1]}",
        f"{no_algorithm}.{payload}.",
        jwt.encode(claims, "another secret that is long enough to sign"),
        jwt.encode(claims, JWT_SECRET, algorithm="HS512"),
        jwt.encode(claims | {"exp": 1}, JWT_SECRET),
        jwt.encode(claims | {"exp": "soon"}, JWT_SECRET),
        jwt.encode(claims | {"exp": None}, JWT_SECRET),
        jwt.encode(claims | {"exp": True}, JWT_SECRET),
        jwt.encode(claims | {"sub": "not-a-uuid"}, JWT_SECRET),
        jwt.encode(claims | {"sid": 1}, JWT_SECRET, headers={"typ": "x"}),
        jwt.encode({}, JWT_SECRET),
    ]
    return [*(token.encode() for token in tokens), b"\xff\xfe", b"\xed\xa0\x80", b"\xe2\x82\xac"]


@pytest.mark.filterwarnings("ignore::jwt.warnings.InsecureKeyLengthWarning")
@pytest.mark.parametrize(("method", "path"), TOKEN_ROUTES)
async def test_a_bearer_token_that_does_not_hold_is_unauthorized(user: User, method: str, path: str) -> None:
    """Whatever the Authorization header has but a live token of ours is a 401."""
    headers: list[list[bytes]] = [[b"Authorization: Bearer " + token] for token in wrong_tokens(user)]
    good = user.token.encode()
    headers += [
        [],
        [b"Authorization:"],
        [b"Authorization: Bearer"],
        [b"Authorization: Basic dTpw"],
        [b"Authorization: " + good],
        [b"Authorization: Token " + good],
        [b"Authorization: Bearer " + good + b" x"],
        [b'Authorization: Bearer "' + good + b'"'],
        [b"Cookie: token=" + good],
    ]
    for lines in headers:
        request = request_bytes(method, path, *lines, b"Content-Length: 2", body=b"{}")
        check_refusal(await exchange(user.api.port, request), 401, of=lines)
    await check_serving(user)


@pytest.mark.filterwarnings("ignore::jwt.warnings.InsecureKeyLengthWarning")
async def test_a_gateway_token_that_does_not_hold_is_unauthorized(user: User) -> None:
    """Whatever the query has but a live token of ours is a 401 in JSON, before any upgrade."""
    tokens = [token for token in wrong_tokens(user) if token.isascii()]
    queries = [b"?token=" + token for token in tokens]
    queries += [b"", b"?", b"?token", b"?token=", b"?token=%00", b"?token=%ff%fe", b"?token=%ed%a0%80", b"?token=%zz"]
    queries += [b"?TOKEN=" + user.token.encode(), b"?token=&token=" + user.token.encode(), b"?" + b"&" * 1000]
    upgrade = [b"Upgrade: websocket", b"Connection: Upgrade", b"Sec-WebSocket-Version: 13"]
    for query in queries:
        request = request_bytes("GET", b"/v1/gateway" + query, *upgrade, b"Sec-WebSocket-Key: " + b"A" * 22 + b"==")
        check_refusal(await exchange(user.api.port, request), 401, of=query)


UPGRADES: dict[str, list[bytes]] = {
    "none": [],
    "no Connection": [b"Upgrade: websocket", b"Sec-WebSocket-Version: 13", b"Sec-WebSocket-Key: " + b"A" * 22 + b"=="],
    "no key": [b"Upgrade: websocket", b"Connection: Upgrade", b"Sec-WebSocket-Version: 13"],
    "another protocol": [b"Upgrade: h2c", b"Connection: Upgrade"],
    **{
        kind: [b"Upgrade: websocket", b"Connection: Upgrade", b"Sec-WebSocket-Version: " + version, key]
        for kind, version, key in (
            ("a short key", b"13", b"Sec-WebSocket-Key: AAAA"),
            ("a key that is no base64", b"13", b"Sec-WebSocket-Key: !"),
            ("a key that is no text", b"13", b"Sec-WebSocket-Key: \xff\xfe"),
            ("another version", b"12", b"Sec-WebSocket-Key: " + b"A" * 22 + b"=="),
            ("a version that is no number", b"x", b"Sec-WebSocket-Key: " + b"A" * 22 + b"=="),
        )
    },
}


async def test_a_gateway_request_that_is_no_upgrade_is_refused(user: User) -> None:
    """A good token without a valid WebSocket handshake is a 400."""
    for kind, headers in UPGRADES.items():
        answer = await exchange(user.api.port, request_bytes("GET", f"/v1/gateway?token={user.token}", *headers))
        check_refusal(answer, 400, of=kind)
    await check_serving(user)
