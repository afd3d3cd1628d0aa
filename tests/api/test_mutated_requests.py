"""Valid requests with random changes: a documented answer in JSON, or none, and a node that serves on."""

import asyncio
import json
import logging
import random

import pytest

from tests.support.bad_requests import (
    ALL_ROUTES,
    JSON_ROUTES,
    NOT_AN_INTEGER,
    NOT_TEXT,
    check_refusal,
    check_serving,
    documented,
    request_bytes,
    valid_body,
)
from tests.support.client import Answer, User, encrypted, exchange

TOKENS = [
    *(literal.encode() for literal in sorted({*NOT_TEXT, *NOT_AN_INTEGER})),
    b"\x00",
    b"\xff",
    b"\xef\xbb\xbf",
    b"\\ud800",
    b"\\u0000",
    b'"',
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b"keyId",
    b"Bearer ",
    b"\r\n",
    b"\r\n\r\n",
    b": ",
    b"%00",
    b"chunked",
    b"Content-Length: 5",
    b"Transfer-Encoding: chunked\r\n",
    b"Expect: 100-continue\r\n",
    b"Upgrade: websocket\r\nConnection: upgrade\r\n",
]


def mutated(source: random.Random, data: bytes) -> bytes:
    """The bytes with one to four random changes."""
    result = bytearray(data)
    for _ in range(source.randint(1, 4)):
        start = source.randrange(len(result) + 1)
        end = min(len(result), start + source.choice((0, 1, 2, 8, 64)))
        match source.randrange(5):
            case 0 if start < len(result):
                result[start] ^= 1 << source.randrange(8)
            case 1:
                del result[start:end]
            case 2:
                result[start:end] = source.choice(TOKENS)
            case 3:
                result[start:start] = result[start:end] * source.choice((1, 2, 50))
            case _:
                result[start:start] = source.randbytes(source.randint(1, 8))
    return bytes(result)


@pytest.mark.parametrize("name", [*JSON_ROUTES, "send"])
async def test_randomly_changed_bodies_get_documented_answers(
    user: User, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    """However a valid body is changed, the answer is one that the served OpenAPI document lists."""
    source = random.Random(name)
    method, path = JSON_ROUTES.get(name, ("POST", f"/v1/messages/{user.id}"))
    for signed_id in range(2, 82):
        body = (
            encrypted(source.randbytes(40))
            if name == "send"
            else json.dumps(valid_body(name, user, signed_id)).encode()
        )
        headers = {} if name == "send" else {"Content-Type": "application/json"}
        sent = mutated(source, body)
        answer = await user.api.call(method, path, token=user.token, data=sent, headers=headers)
        assert answer.status in documented(method, path), (sent, answer)
        if answer.status >= 400:
            check_refusal(answer, *range(400, 500), of=sent)
        elif name == "logout":
            user = await user.another_session()
        elif name == "refresh":
            user.refresh_token = answer.json["refreshToken"]
    await check_serving(await user.another_session())
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


async def test_randomly_changed_requests_never_fail_the_node(user: User, caplog: pytest.LogCaptureFixture) -> None:
    """However the bytes of a whole request are changed, what comes back is an answer in JSON, or nothing."""
    source = random.Random(20)
    body = json.dumps({"refreshToken": "x" * 86}).encode()
    requests = [
        request_bytes(
            method,
            path,
            b"Authorization: Bearer " + user.token.encode(),
            b"Content-Type: application/json",
            b"Content-Length: %d" % len(body),
            body=body,
        )
        for method, path in ALL_ROUTES
        if path != "/openapi.yaml"
    ]
    for _ in range(4):
        sent = [mutated(source, source.choice(requests)) for _ in range(100)]
        for request, answer in zip(
            sent, await asyncio.gather(*(poke(user.api.port, data) for data in sent)), strict=True
        ):
            assert answer.status < 500, (request, answer)
            if answer.status >= 400:
                check_refusal(answer, *range(400, 500), of=request)
    await check_serving(user)
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


async def poke(port: int, request: bytes) -> Answer:
    """Send bytes that may be no whole request; one that still waits for more after a while is left alone."""
    try:
        async with asyncio.timeout(0.5):
            return await exchange(port, request)
    except TimeoutError:
        return Answer(0, {}, b"", None)
