"""Bodies too large, compressed, of another type, or no message: a documented 4xx, and a node that serves on."""

import json
import re

import pytest

from tests.support.bad_requests import (
    ALL_ROUTES,
    ATTACHMENT_UPLOAD,
    BODY_ROUTES,
    DOWNLOADS,
    JSON_ROUTES,
    NOWHERE,
    TEN_MB,
    check_refusal,
    check_serving,
    chunked,
    request_bytes,
    valid_body,
)
from tests.support.client import User, encrypted, exchange

MESSAGES = {
    "empty": (b"", "content is empty"),
    "a type alone": (b"\x08\x02", "content is empty"),
    "empty content": (b"\x08\x02\x12\x00", "content is empty"),
    "JSON": (b'{"type": 2}', "not a valid EncryptedMessage"),
    "cut off": (encrypted(b"hello")[:-1], "not a valid EncryptedMessage"),
    "a length too long": (b"\x12\xff\xff\xff\xff\x0f", "not a valid EncryptedMessage"),
    "an endless varint": (b"\x08" + b"\xff" * 11, "not a valid EncryptedMessage"),
    "field number 0": (b"\x02\x00", "not a valid EncryptedMessage"),
    "a wire type that does not exist": (b"\x0f", "not a valid EncryptedMessage"),
    "a group without end": (b"\x0b" * 1000, "not a valid EncryptedMessage"),
    "an end without group": (b"\x0c", "not a valid EncryptedMessage"),
    "only NULs": (bytes(1000), "not a valid EncryptedMessage"),
}


async def test_a_body_that_is_no_message_is_refused(user: User) -> None:
    """What is no EncryptedMessage, or has no content, is a 400 that says so."""
    for kind, (body, reason) in MESSAGES.items():
        answer = await user.api.call("POST", f"/v1/messages/{user.id}", token=user.token, data=body)
        check_refusal(answer, 400, of=kind)
        assert reason in answer.error, kind
    await check_serving(user)


async def test_a_malformed_idempotency_key_is_refused(user: User) -> None:
    """A key that is empty, too long or not printable ASCII is a 400 that names the header."""
    authorization = f"Authorization: Bearer {user.token}".encode()
    body = encrypted(b"hello")
    for key in (b"", b"x" * 65, b"\xe2\x82\xac", b"\xff", b"a\tb"):
        headers = [authorization, b"Idempotency-Key: " + key, b"Content-Length: %d" % len(body)]
        answer = await exchange(user.api.port, request_bytes("POST", f"/v1/messages/{user.id}", *headers, body=body))
        check_refusal(answer, 400, of=key)
        assert "Idempotency-Key" in answer.error


@pytest.mark.parametrize(("method", "path"), BODY_ROUTES)
async def test_ten_megabytes_are_too_large(user: User, method: str, path: str) -> None:
    """A body over the limit is a 413, whether its length is declared or it comes in chunks."""
    authorization = f"Authorization: Bearer {user.token}".encode()
    data = bytes(TEN_MB)
    declared = request_bytes(method, path, authorization, b"Content-Length: %d" % len(data), body=data)
    in_chunks = request_bytes(method, path, authorization, b"Transfer-Encoding: chunked", body=chunked(data))
    for request in (declared, in_chunks):
        answer = await exchange(user.api.port, request)
        check_refusal(answer, 413)
        assert re.fullmatch(r"The body is over \d+ bytes", answer.error)
    await check_serving(user)


@pytest.mark.parametrize(("method", "path"), BODY_ROUTES)
async def test_a_body_declared_too_large_is_refused_before_it_is_sent(user: User, method: str, path: str) -> None:
    """The header alone decides: the client gets its 413 without sending a byte of the body."""
    authorization = f"Authorization: Bearer {user.token}".encode()
    answer = await exchange(user.api.port, request_bytes(method, path, authorization, b"Content-Length: 999999999999"))
    check_refusal(answer, 413)


@pytest.mark.parametrize(
    ("method", "path"), [("GET", f"/v1/keys/{NOWHERE}"), ("GET", "/v1/gateway"), *DOWNLOADS, ("GET", "/x")]
)
async def test_ten_megabytes_where_no_body_belongs_change_nothing(user: User, method: str, path: str) -> None:
    """A route without a body answers as it would without one."""
    authorization = f"Authorization: Bearer {user.token}".encode()
    data = bytes(TEN_MB)
    request = request_bytes(method, path, authorization, b"Content-Length: %d" % len(data), body=data)
    check_refusal(await exchange(user.api.port, request), 401 if "gateway" in path else 404)
    await check_serving(user)


@pytest.mark.parametrize("name", JSON_ROUTES)
async def test_a_body_declared_to_be_no_json_is_refused(user: User, name: str) -> None:
    """A content type other than JSON is a 415 on each JSON route."""
    method, path = JSON_ROUTES[name]
    body = json.dumps(valid_body(name, user)).encode()
    for content_type in (
        "text/plain",
        "application/x-protobuf",
        "application/jsonp",
        "",
        ";;==",
        "json",
        "\N{SNOWMAN}",
    ):
        lines = [f"Authorization: Bearer {user.token}", f"Content-Type: {content_type}", f"Content-Length: {len(body)}"]
        request = request_bytes(method, path, *(line.encode() for line in lines), body=body)
        check_refusal(await exchange(user.api.port, request), 415, of=content_type)


async def test_json_by_another_name_is_accepted(user: User) -> None:
    """Parameters, case and structured suffixes do not matter, nor does a missing type."""
    refresh_token = user.refresh_token
    for line in (
        "Content-Type: application/json; charset=utf-8",
        "Content-Type: APPLICATION/JSON",
        "Content-Type: application/x+json",
        "X: no type",
    ):
        body = json.dumps({"refreshToken": refresh_token}).encode()
        headers = [line.encode(), b"Content-Length: %d" % len(body)]
        answer = await exchange(user.api.port, request_bytes("POST", "/v1/sessions/refresh", *headers, body=body))
        assert answer.status == 200, (line, answer)
        refresh_token = answer.json["refreshToken"]


@pytest.mark.parametrize(("method", "path"), [*BODY_ROUTES, ATTACHMENT_UPLOAD])
async def test_a_compressed_body_is_refused(user: User, method: str, path: str) -> None:
    """No content coding is undone, so a few bytes cannot turn into many: 415."""
    for coding in ("gzip", "deflate", "br", "zstd", "identity, gzip", "", "identity\r\nContent-Encoding: gzip"):
        lines = [f"Authorization: Bearer {user.token}", f"Content-Encoding: {coding}", "Content-Length: 2"]
        request = request_bytes(method, path, *(line.encode() for line in lines), body=b"{}")
        check_refusal(await exchange(user.api.port, request), 415, of=coding)


async def test_an_attachment_over_the_limit_is_refused_by_its_declared_length(user: User) -> None:
    """Not 413: the contract has a 400 for it. The client gets it without sending a byte of the body."""
    authorization = f"Authorization: Bearer {user.token}".encode()
    for size in (50 * 2**20 + 1, 2**31, 2**63, 10**18):
        request = request_bytes(*ATTACHMENT_UPLOAD, authorization, b"Content-Length: %d" % size)
        answer = await exchange(user.api.port, request)
        check_refusal(answer, 400, of=size)
        assert answer.error == "Attachment too large"
    await check_serving(user)


async def test_an_unknown_expectation_is_refused(user: User) -> None:
    """An Expect header that we cannot meet is a 417 on every route."""
    for method, path in ALL_ROUTES:
        request = request_bytes(method, path, b"Expect: the unexpected", b"Content-Length: 2", body=b"{}")
        check_refusal(await exchange(user.api.port, request), 417, of=path)


async def test_a_client_that_asks_before_it_sends_gets_the_same_answers(user: User) -> None:
    """Expect: 100-continue is met, and then the body is judged like any other."""
    headers = [f"Authorization: Bearer {user.token}".encode(), b"Expect: 100-continue", b"Content-Length: 2"]
    for method, path in BODY_ROUTES:
        answer = await exchange(user.api.port, request_bytes(method, path, *headers, body=b"{}"))
        check_refusal(answer, 400, of=path)
