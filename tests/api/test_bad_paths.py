"""Paths, methods, ranges and conditions that mean nothing: the status that the document has for each."""

import re

from obscura.api.routes import API_ROUTES
from tests.support.bad_requests import (
    ATTACHMENT_UPLOAD,
    DOWNLOADS,
    METHODS,
    NOWHERE,
    check_refusal,
    check_serving,
    request_bytes,
)
from tests.support.client import User, exchange

NOT_UUIDS = [
    b"x",
    b"0",
    b"null",
    b"%00",
    b"%ff%fe",
    b"%ed%a0%80",
    b"%zz",
    b"%",
    b"%2f..%2f..",
    b"..%2e",
    b"%0d%0aX-Injected:%20yes",
    b"%F0%9F%98%80",
    b"'%20OR%201=1--",
    b"*",
    NOWHERE.replace("-", "").encode(),
    b"urn:uuid:" + NOWHERE.encode(),
    NOWHERE.encode() + b"0",
    NOWHERE.encode()[:-1],
    NOWHERE.encode() + b"%0a",
    NOWHERE.encode() + b"%20",
    NOWHERE[:-1].encode() + b"%EF%BC%91",
    b"a" * 8000,
]


async def test_a_path_without_a_uuid_is_refused(user: User) -> None:
    """An id that is no UUID in its 36-character form is a 400 that names the parameter."""
    headers = [f"Authorization: Bearer {user.token}".encode(), b"Content-Length: 2"]
    for junk in NOT_UUIDS:
        answer = await exchange(user.api.port, request_bytes("GET", b"/v1/keys/" + junk))
        check_refusal(answer, 400, of=junk)
        assert answer.error == "userId is not a UUID"
        request = request_bytes("POST", b"/v1/messages/" + junk, *headers, body=b"\x12\x00")
        answer = await exchange(user.api.port, request)
        check_refusal(answer, 400, of=junk)
        assert answer.error == "recipientId is not a UUID"
        for method, _ in DOWNLOADS:
            answer = await exchange(user.api.port, request_bytes(method, b"/v1/attachments/" + junk, headers[0]))
            check_refusal(answer, 400, of=junk)
            assert method == "HEAD" or answer.error == "id is not a UUID"


RANGES = [
    b"",
    b"bytes",
    b"bytes=",
    b"bytes=-",
    b"bytes=--1",
    b"bytes=x-y",
    b"bytes=5-1",
    b"bytes=0x0-0x5",
    b"bytes=1.0-2.0",
    b"bytes=+1-2",
    b"bytes= 0 - 1",
    b"bytes=0-1,",
    b"bytes=" + b",".join(b"%d-%d" % (number, number) for number in range(1000)),
    b"bytes=" + b"0-," * 4000,
    b"bytes=-" + b"9" * 10_000,
    b"bytes=" + b"9" * 10_000 + b"-",
    b"bytes=\xd9\xa1-\xd9\xa5",
    b"\xff\xfe",
    b"items=0-5",
]
BEYOND_THE_END = [b"bytes=5-", b"bytes=5-5", b"bytes=-0", b"bytes=99999999999999999999-", b"BYTES=5-"]
CONDITIONS = [
    b"If-None-Match: ",
    b"If-None-Match: \xff",
    b'If-None-Match: "' + b"x" * 10_000,
    b"If-None-Match: " + b'"x",' * 3000,
    b"If-Range: \xff",
    b"If-Range: " + b"x" * 10_000,
    b"If-Range: Sat, 99 Foo 9999 99:99:99 GMT",
    b"If-Modified-Since: never",
    b"If-Match: nothing",
]


async def test_a_range_or_condition_that_means_nothing_gets_the_whole(user: User) -> None:
    """Malformed, of another unit, too many or too long: 200 with all bytes; only one beyond the end is a 416."""
    stored = await user.api.call(*ATTACHMENT_UPLOAD, token=user.token, data=b"hello")
    path = f"/v1/attachments/{stored.json['id']}"
    authorization = f"Authorization: Bearer {user.token}".encode()
    for header in (*(b"Range: " + given for given in RANGES), *CONDITIONS):
        for method, _ in DOWNLOADS:
            answer = await exchange(user.api.port, request_bytes(method, path, authorization, header))
            assert (answer.status, answer.headers["Content-Length"]) == (200, "5"), (header, answer)
            assert method == "HEAD" or answer.body == b"hello", header
    for given in BEYOND_THE_END:
        answer = await exchange(user.api.port, request_bytes("GET", path, authorization, b"Range: " + given))
        check_refusal(answer, 416, of=given)
        assert answer.headers["Content-Range"] == "bytes */5"
        head = await exchange(user.api.port, request_bytes("HEAD", path, authorization, b"Range: " + given))
        assert head.status == 200, given
    await check_serving(user)


UNKNOWN_PATHS = [
    b"/",
    b"/v1",
    b"/v1/",
    b"/v2/users",
    b"/v1/users/",
    b"/V1/USERS",
    b"//v1/users",
    b"/v1//users",
    b"/v1/keys/",
    b"/v1/keys/a/b",
    b"/v1/messages",
    b"/v1/users%00",
    b"/v1/users%2f",
    b"/%ff%fe",
    b"/%zz",
    b"/../../etc/passwd",
    b"/%2e%2e/%2e%2e/etc/passwd",
    b"/v1/keys/{userId}",
    b"/livez",
    b"/metrics",
    b"/favicon.ico",
    b"//[::1",
    b"//a:b:c/d",
    b"/:a:b",
    b"http://relay.example/nothing",
    b"http://xn--/nothing",
    b"http://a%00/nothing",
    b"/" + b"a/" * 4000,
]


async def test_an_unknown_path_is_not_found(user: User) -> None:
    """Any path that is not a route is a 404 for every method."""
    for target in UNKNOWN_PATHS:
        for method in METHODS:
            answer = await exchange(user.api.port, request_bytes(method, target))
            check_refusal(answer, 404, of=(method, target))
    await check_serving(user)


async def test_a_wrong_method_is_told_the_right_ones(user: User) -> None:
    """A known path with another method is a 405 whose Allow header lists what the path has."""
    allowed: dict[str, set[str]] = {}
    for route in API_ROUTES:
        methods = {route.method, "HEAD"} if route.allows_head else {route.method}
        allowed.setdefault(route.path, set()).update(methods)
    for path, methods in allowed.items():
        for method in set(METHODS) - methods:
            answer = await exchange(user.api.port, request_bytes(method, re.sub(r"{\w+}", NOWHERE, path)))
            check_refusal(answer, 405, of=(method, path))
            assert set(answer.headers["Allow"].split(",")) == methods
