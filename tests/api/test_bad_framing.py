"""What is no HTTP, breaks its framing or breaks off: a 400 in JSON or no answer, and a node that serves on."""

import asyncio
import json
import logging

import pytest

from tests.support.bad_requests import (
    ATTACHMENT_UPLOAD,
    check_refusal,
    check_serving,
    request_bytes,
    valid_body,
)
from tests.support.client import User, exchange

NOT_HTTP = {
    "a word": b"hello\r\n\r\n",
    "a TLS hello": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(100),
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "a method that does not exist": request_bytes("FETCH", "/v1/users"),
    "a method in small letters": request_bytes("post", "/v1/users"),
    "an unknown version": b"GET / HTTP/9.9\r\nHost: x\r\n\r\n",
    "no host": b"GET / HTTP/1.1\r\n\r\n",
    "two hosts": request_bytes("GET", "/", b"Host: y"),
    "no slash": request_bytes("GET", "v1/users"),
    "a target with a space": request_bytes("GET", "/v1/users now"),
    "a target with a NUL": request_bytes("GET", b"/v1/\x00"),
    "a target that is no ASCII": request_bytes("GET", b"/v1/\xff\xfe"),
    "a target too long": request_bytes("GET", "/" + "a" * 20_000),
    "a host that is none": request_bytes("GET", "http://[::1/v1/users"),
    "a port that is none": request_bytes("GET", "http://x:99999/v1/users"),
    "no host in a URL": request_bytes("GET", "http:///"),
    "a header too long": request_bytes("GET", "/", b"X: " + b"a" * 20_000),
    "a header name too long": request_bytes("GET", "/", b"X" * 20_000 + b": a"),
    "too many headers": request_bytes("GET", "/", *(b"X-%d: a" % number for number in range(1000))),
    "a header without colon": request_bytes("GET", "/", b"colon"),
    "a folded header": request_bytes("GET", "/", b" folded: x"),
    "a blank in a header name": request_bytes("GET", "/", b"X : a"),
    "a NUL in a header": request_bytes("GET", "/", b"X: a\x00b"),
    "a NUL in a header name": request_bytes("GET", "/", b"X\x00: a"),
    "a lone carriage return": request_bytes("GET", "/", b"X: a\rb"),
    "a negative length": request_bytes("POST", "/v1/users", b"Content-Length: -1"),
    "a length with a sign": request_bytes("POST", "/v1/users", b"Content-Length: +2", body=b"{}"),
    "a length that is no number": request_bytes("POST", "/v1/users", b"Content-Length: two"),
    "a length beyond 64 bits": request_bytes("POST", "/v1/users", b"Content-Length: 99999999999999999999999"),
    "a length of 5,000 digits": request_bytes("POST", "/v1/users", b"Content-Length: " + b"1" * 5000),
    "two lengths": request_bytes("POST", "/v1/users", b"Content-Length: 2", b"Content-Length: 3", body=b"{}"),
    "a length and chunks": request_bytes(
        "POST", "/v1/users", b"Content-Length: 2", b"Transfer-Encoding: chunked", body=b"0\r\n\r\n"
    ),
    "another transfer coding": request_bytes("POST", "/v1/users", b"Transfer-Encoding: gzip", body=b"0\r\n\r\n"),
    "chunked and then another": request_bytes(
        "POST", "/v1/users", b"Transfer-Encoding: chunked, gzip", body=b"0\r\n\r\n"
    ),
    **{
        f"chunks of {kind}": request_bytes("POST", "/v1/users", b"Transfer-Encoding: chunked", body=body)
        for kind, body in (
            ("no size", b"\r\n{}\r\n0\r\n\r\n"),
            ("no hexadecimal size", b"zz\r\n{}\r\n0\r\n\r\n"),
            ("a negative size", b"-2\r\n{}\r\n0\r\n\r\n"),
            ("a size beyond 64 bits", b"f" * 20 + b"\r\n{}\r\n0\r\n\r\n"),
            ("too much data", b"2\r\n{}{}\r\n0\r\n\r\n"),
            ("bare line feeds", b"2\n{}\n0\n\n"),
            ("an endless extension", b"2;" + b"a" * 40_000 + b"\r\n{}\r\n0\r\n\r\n"),
        )
    },
}


async def test_what_is_no_http_is_refused(user: User) -> None:
    """Bytes that are no valid request are a 400 in JSON too, and the node serves on."""
    for kind, request in NOT_HTTP.items():
        check_refusal(await exchange(user.api.port, request), 400, of=kind)
    await check_serving(user)


async def test_an_upload_that_is_not_framed_right_is_refused(user: User) -> None:
    """What breaks the framing of a registration breaks that of an attachment: 400, with a token that holds."""
    line, token = b"POST /v1/users HTTP/1.1\r\n", f"Authorization: Bearer {user.token}\r\n".encode()
    requests = {kind: request for kind, request in NOT_HTTP.items() if request.startswith(line)}
    del requests["chunks of an endless extension"]  # in the way of JSON alone
    assert len(requests) >= 15
    for kind, request in requests.items():
        upload = request.replace(line, b"POST /v1/attachments HTTP/1.1\r\n" + token)
        check_refusal(await exchange(user.api.port, upload), 400, of=kind)
    await check_serving(user)


@pytest.mark.parametrize("framing", [b"Content-Length: 1000", b"Transfer-Encoding: chunked"])
async def test_an_upload_that_breaks_off_costs_no_word_in_the_log(
    user: User, framing: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """Fewer bytes than were announced, or no last chunk: there is nobody to answer, and the node serves on."""
    head = request_bytes(*ATTACHMENT_UPLOAD, f"Authorization: Bearer {user.token}".encode(), framing)
    for body in (b"", b"1", b"5\r\nhel", b"5\r\nhello\r\n", b"5\r\nhello\r\n0\r\n"):
        assert (await exchange(user.api.port, head + body, end=True)).status == 0, body
    await check_serving(user)
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


@pytest.mark.parametrize("rest", [b"zz\r\n", b"\r\n\r\n", b"-1\r\n", b"2\r\n{}{}"], ids=repr)
async def test_a_body_that_breaks_its_framing_later_is_refused(user: User, rest: bytes) -> None:
    """A broken chunk is a 400 also when its request is being served already."""
    head = request_bytes("POST", "/v1/users", b"Transfer-Encoding: chunked", b"Expect: 100-continue")
    reader, writer = await asyncio.open_connection("127.0.0.1", user.api.port)
    writer.write(head)
    assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 100 ")  # now it is being served
    writer.write(rest)
    assert (await reader.readline()).startswith(b"HTTP/1.1 400 ")
    answer = await reader.readuntil(b"}")
    assert json.loads(answer.partition(b"\r\n\r\n")[2]) == {"error": "The body is not framed as its headers say"}
    writer.close()
    await check_serving(user)


async def test_half_a_request_leaves_nothing_behind(user: User, caplog: pytest.LogCaptureFixture) -> None:
    """A client that breaks off in its head or its body gets no answer and costs no word in the log."""
    body = json.dumps(valid_body("register", user)).encode()
    request = request_bytes("POST", "/v1/users", b"Content-Length: %d" % len(body), body=body)
    for size in (0, 1, 20, 60, 120, 150, 200, len(request) - 1):
        assert (await exchange(user.api.port, request[:size], end=True)).status == 0
    await check_serving(user)
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []
