"""Bad input for every route: a documented 4xx that names the field, in JSON, and a node that serves on."""

import asyncio
import base64
import json
import logging
import random
import re
import time
from typing import Any
from uuid import uuid4

import jwt
import pytest
import yaml
from aiohttp import hdrs

from obscura.api.openapi import openapi_text
from obscura.api.routes import API_ROUTES
from obscura.crypto.curve import LOW_ORDER
from tests.conftest import JWT_SECRET
from tests.support.client import Answer, Api, User, encrypted, exchange
from tests.support.keys import encode, one_time_keys, random_public_key

NOWHERE = "6f1d9a52-3c1e-4d5b-9a70-0f4f6a2c8e11"
TEN_MB = 10 * 2**20

JSON_ROUTES = {
    "register": ("POST", "/v1/users"),
    "login": ("POST", "/v1/sessions"),
    "logout": ("DELETE", "/v1/sessions"),
    "refresh": ("POST", "/v1/sessions/refresh"),
    "upload": ("POST", "/v1/keys"),
}
BODY_ROUTES = [*JSON_ROUTES.values(), ("POST", f"/v1/messages/{NOWHERE}")]
ATTACHMENT_UPLOAD = ("POST", "/v1/attachments")
DOWNLOADS = [("GET", f"/v1/attachments/{NOWHERE}"), ("HEAD", f"/v1/attachments/{NOWHERE}")]
TOKEN_ROUTES = [
    *(JSON_ROUTES["logout"], JSON_ROUTES["upload"], ("POST", f"/v1/messages/{NOWHERE}")),
    *(ATTACHMENT_UPLOAD, *DOWNLOADS),
]
ALL_ROUTES = [
    *(*BODY_ROUTES, ATTACHMENT_UPLOAD, *DOWNLOADS),
    *(("GET", f"/v1/keys/{NOWHERE}"), ("GET", "/v1/gateway"), ("GET", "/openapi.yaml")),
]
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE")

NOT_TEXT = ["null", "0", "-1", "1.5", "true", "[]", "{}", '["x"]', "1e300"]
NOT_A_NUMBER = ["null", '"1"', '""', "true", "false", "[]", "{}"]
OUT_OF_RANGE = ["-1", "-2147483648", "2147483648", "9223372036854775808", "18446744073709551616", "1" + "0" * 300]
NOT_WHOLE = ["1.0", "0.5", "-0.5", "1e2", "1e308", "-1e-308"]
NOT_BASE64 = ['""', '"AAAA"', '"\\u0000"', '"\\n"', '"é"', f'"{"A" * 100_000}"', '"="', '"\\ud83d\\ude00"']
WRONG_KEYS = [
    json.dumps(encode(raw))
    for raw in (
        bytes(32),
        b"\x04" + bytes(range(32)),
        b"\x05" + bytes(range(31)),
        b"\x05" + bytes(range(33)),
        b"\x05" + sorted(LOW_ORDER)[3],
    )
]
NOT_A_KEY = [*NOT_TEXT, *NOT_BASE64, *WRONG_KEYS, json.dumps(f"{random_public_key()} ")]
NOT_AN_INTEGER = [*NOT_A_NUMBER, *OUT_OF_RANGE, *NOT_WHOLE]
NOT_A_SIGNATURE = [*NOT_TEXT, *NOT_BASE64, json.dumps(encode(bytes(63))), json.dumps(encode(bytes(65)))]
NOT_AN_OBJECT = ["null", "0", "true", '"x"', "[]", "[{}]"]
NOT_AN_ARRAY = ["null", "0", "true", '"x"', "{}"]

Path = tuple[str | int, ...]

KEY_FIELDS: dict[Path, list[str]] = {
    ("identityKey",): NOT_A_KEY,
    ("registrationId",): NOT_AN_INTEGER,
    ("signedPreKey",): NOT_AN_OBJECT,
    ("signedPreKey", "keyId"): NOT_AN_INTEGER,
    ("signedPreKey", "publicKey"): NOT_A_KEY,
    ("signedPreKey", "signature"): [*NOT_A_SIGNATURE, json.dumps(encode(bytes(64)))],
    ("oneTimePreKeys",): NOT_AN_ARRAY,
    ("oneTimePreKeys", 1): NOT_AN_OBJECT,
    ("oneTimePreKeys", 1, "keyId"): NOT_AN_INTEGER,
    ("oneTimePreKeys", 1, "publicKey"): NOT_A_KEY,
}
FIELDS: dict[str, dict[Path, list[str]]] = {
    "register": {
        ("username",): [*NOT_TEXT, '""', f'"{"x" * 51}"', '"a\\u0000b"', '"\\u001f"', '"\\u007f"', '"\\u0085"'],
        ("password",): [*NOT_TEXT, '""', '"elevenchars"', f'"{"x" * 1025}"', f'"{"€" * 342}"'],
        **KEY_FIELDS,
    },
    "login": {("username",): NOT_TEXT, ("password",): NOT_TEXT},
    "logout": {("refreshToken",): NOT_TEXT},
    "refresh": {("refreshToken",): NOT_TEXT},
    "upload": KEY_FIELDS,
}
OPTIONAL = {("upload", ("identityKey",)), ("upload", ("registrationId",))}

NOT_JSON_OBJECTS = {
    "empty": b"",
    "blank": b" \r\n\t ",
    "a megabyte of blanks": b" " * 1_000_000,
    "null": b"null",
    "a number": b"1",
    "a string": b'"x"',
    "an array": b"[]",
    "true": b"true",
    "cut off": b'{"username": "x", ',
    "two objects": b"{}{}",
    "a trailing comma": b'{"username": "x",}',
    "single quotes": b"{'username': 'x'}",
    "a comment": b"{} // x",
    "no quotes": b"{username: 1}",
    "not a number": b'{"keyId": NaN}',
    "infinite": b'{"keyId": Infinity}',
    "an integer of 5,000 digits": b'{"keyId": ' + b"9" * 5000 + b"}",
    "a number beyond a double": b'{"keyId": 1e400}',
    "leading zero": b'{"keyId": 01}',
    "hexadecimal": b'{"keyId": 0x1}',
    "no UTF-8": b'{"username": "\xff\xfe"}',
    "UTF-8 cut off": b'{"username": "\xe2\x82"}',
    "UTF-8 too long": b'{"username": "\xc0\x80"}',
    "a surrogate in UTF-8": b'{"username": "\xed\xa0\x80"}',
    "a lone surrogate": b'{"username": "\\ud800"}',
    "surrogates in reverse": b'{"username": "\\udc00\\ud800"}',
    "a bad escape": b'{"username": "\\x00"}',
    "a NUL": b'{"username": "\x00"}',
    "a line feed in a string": b'{"username": "\n"}',
    "only NULs": bytes(1000),
    "a byte order mark": b"\xef\xbb\xbf{}",
    "UTF-16": '{"username": "x"}'.encode("utf-16"),
    "UTF-32": '{"username": "x"}'.encode("utf-32"),
    "deep arrays": b"[" * 500_000,
    "deep objects": b'{"username":' * 80_000,
    "deep and closed": b'{"username":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "form data": b"username=x&password=y",
    "random bytes": random.Random(1).randbytes(10_000),
}

INTERNALS = re.compile(
    r"traceback|exception|redis|lua|aiohttp|orjson|obscura:|\.py|0x[0-9a-f]{6}|localhost|127\.0", re.I
)

DOCUMENTED = {
    (method.upper(), path): {int(status) for status in operation["responses"]}
    for path, item in yaml.safe_load(openapi_text())["paths"].items()
    for method, operation in item.items()
}


def documented(method: str, path: str) -> set[int]:
    """The statuses that the served OpenAPI document gives an operation."""
    for (known_method, template), statuses in DOCUMENTED.items():
        if method == known_method and re.fullmatch(re.sub(r"{\w+}", "[^/]+", template), path):
            return statuses
    raise AssertionError(f"{method} {path} is not documented")


def check_refusal(answer: Answer, *statuses: int, of: object = None) -> None:
    """An answer is an error of the contract: a status that was expected, and one sentence in JSON."""
    assert answer.status in statuses, (of, answer)
    assert answer.headers["Content-Type"] == "application/json", (of, answer)
    assert answer.headers["x-request-id"], (of, answer)
    if answer.body:  # an answer to HEAD has none
        assert list(answer.json) == ["error"], (of, answer)
        assert re.fullmatch(r"[A-Za-z][^\n]{3,150}", answer.error), (of, answer)
        assert not INTERNALS.search(answer.error), (of, answer)


async def check_serving(user: User) -> None:
    """The node still does its work."""
    assert (await user.send(user, b"still there?")).status == 201


def valid_body(name: str, user: User, signed_id: int = 2) -> dict[str, Any]:
    match name:
        case "register":
            return user.api.registration(f"user-{uuid4()}", user.device, 3)
        case "login":
            return {"username": user.name, "password": "a wrong password"}
        case "upload":
            return user.device.takeover(signed_id, one_time_keys(500, 3))
        case _:
            return {"refreshToken": user.refresh_token}


def with_literal(body: dict[str, Any], path: Path, literal: str) -> bytes:
    """The JSON of a body in which one field is replaced by JSON text."""
    body = json.loads(json.dumps(body))
    parent: Any = body
    for step in path[:-1]:
        parent = parent[step]
    parent[path[-1]] = "@ here @"
    return json.dumps(body).replace('"@ here @"', literal).encode()


def field_name(path: Path) -> str:
    """What an error calls a field: ``oneTimePreKeys[1].keyId``."""
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path).lstrip(".")


def request_bytes(method: str, target: bytes | str, *headers: bytes, body: bytes = b"") -> bytes:
    """An HTTP request with nothing checked."""
    target = target.encode() if isinstance(target, str) else target
    head = [method.encode() + b" " + target + b" HTTP/1.1", b"Host: relay.example", *headers]
    return b"\r\n".join([*head, b"", body])


def chunked(data: bytes, size: int = 65_536) -> bytes:
    pieces = [data[start : start + size] for start in range(0, len(data), size)]
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


@pytest.fixture
async def user(api: Api) -> User:
    return await api.register(pre_keys=3)


def call(user: User, name: str, body: bytes, **headers: str) -> Any:
    method, path = JSON_ROUTES[name]
    headers = {"Content-Type": "application/json"} | headers
    return user.api.call(method, path, token=user.token, data=body, headers=headers)


@pytest.mark.parametrize(("name", "path"), [(name, path) for name, fields in FIELDS.items() for path in fields])
async def test_a_bad_field_is_named(user: User, name: str, path: Path) -> None:
    """Each wrong type or value of each field of each JSON body is a 400 that names the field."""
    for literal in FIELDS[name][path]:
        if literal == "null" and (name, path) in OPTIONAL:
            continue
        answer = await call(user, name, with_literal(valid_body(name, user), path, literal))
        check_refusal(answer, 400, of=literal)
        assert field_name(path) in answer.error, (literal, answer)
    await check_serving(user)


@pytest.mark.parametrize(("name", "path"), [(name, path) for name, fields in FIELDS.items() for path in fields])
async def test_a_missing_field_is_named(user: User, name: str, path: Path) -> None:
    """Leaving out any required field is a 400 that names it."""
    if isinstance(path[-1], int) or (name, path) in OPTIONAL:
        return
    body = valid_body(name, user)
    parent: Any = body
    for step in path[:-1]:
        parent = parent[step]
    del parent[path[-1]]
    answer = await call(user, name, json.dumps(body).encode())
    check_refusal(answer, 400)
    assert answer.error == f"{field_name(path)} is missing"


@pytest.mark.parametrize("name", ["register", "upload"])
async def test_more_pre_keys_than_the_maximum_are_refused(user: User, name: str) -> None:
    """One key over the limit is a 400 that names the field."""
    body = valid_body(name, user) | {"oneTimePreKeys": one_time_keys(1, 101)}
    answer = await call(user, name, json.dumps(body).encode())
    check_refusal(answer, 400)
    assert answer.error == "oneTimePreKeys has more than 100 keys"


@pytest.mark.parametrize("name", ["register", "upload"])
async def test_a_key_id_that_occurs_twice_is_refused(user: User, name: str) -> None:
    """Two keys of one id in one request are a 400 that names the field, be they equal or not."""
    key = one_time_keys(7, 1)
    for keys in (key + key, key + one_time_keys(7, 1), one_time_keys(1, 9) + one_time_keys(9, 1)):
        body = valid_body(name, user) | {"oneTimePreKeys": keys}
        answer = await call(user, name, json.dumps(body).encode())
        check_refusal(answer, 400)
        assert answer.error == "oneTimePreKeys has a keyId twice"


@pytest.mark.parametrize("name", JSON_ROUTES)
async def test_a_body_that_is_no_json_object_is_refused(user: User, name: str) -> None:
    """Whatever is not one JSON object in UTF-8 is a 400, however deep, long or broken."""
    for kind, body in NOT_JSON_OBJECTS.items():
        answer = await call(user, name, body)
        check_refusal(answer, 400, of=kind)
        assert "JSON" in answer.error, (kind, answer)
    await check_serving(user)


@pytest.mark.parametrize("name", ["refresh", "logout"])
async def test_a_made_up_refresh_token_is_unauthorized(user: User, name: str) -> None:
    """Text that is no live refresh token is a 401, whatever is in it."""
    good = user.refresh_token
    for text in ("", "x", "\0", "é" * 86, "A" * 86, good[:-1], f"{good}=", good.swapcase(), "A" * 500_000, user.token):
        answer = await call(user, name, json.dumps({"refreshToken": text}).encode())
        check_refusal(answer, 401)
    await check_serving(user)


async def test_an_odd_name_or_password_is_just_wrong(user: User) -> None:
    """A login with any text at all is a 401."""
    for text in ("", "\0", "\x7f", "é", "😀" * 50, "x" * 100_000, "{}", "*"):
        check_refusal(await user.api.login(text), 401)
        check_refusal(await user.api.login(user.name, text), 401)


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
        takes_head = route.method == hdrs.METH_GET and route.kwargs.get("allow_head", True)
        allowed.setdefault(route.path, set()).update({route.method, "HEAD"} if takes_head else {route.method})
    for path, methods in allowed.items():
        for method in set(METHODS) - methods:
            answer = await exchange(user.api.port, request_bytes(method, re.sub(r"{\w+}", NOWHERE, path)))
            check_refusal(answer, 405, of=(method, path))
            assert set(answer.headers["Allow"].split(",")) == methods


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


TOKENS = [
    *(literal.encode() for literal in {*NOT_TEXT, *NOT_AN_INTEGER}),
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
