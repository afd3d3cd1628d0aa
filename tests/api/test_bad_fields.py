"""Fields of JSON bodies that are wrong or missing: a 400 that names the field, and a node that serves on."""

import json
import random
from typing import Any

import pytest

from obscura.client.device_keys import encode, one_time_keys, random_public_key
from obscura.crypto.curve import LOW_ORDER
from tests.support.bad_requests import (
    JSON_ROUTES,
    NOT_AN_INTEGER,
    NOT_TEXT,
    call,
    check_refusal,
    check_serving,
    valid_body,
)
from tests.support.client import User

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
