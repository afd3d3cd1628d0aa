"""Requests with nothing checked, what every refusal must be, and the routes by what they take."""

import re
from typing import Any
from uuid import uuid4

import yaml

from obscura.api.openapi import openapi_text
from obscura.client.device_keys import one_time_keys
from tests.support.client import Answer, User

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

NOT_AN_INTEGER = [*NOT_A_NUMBER, *OUT_OF_RANGE, *NOT_WHOLE]

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


def request_bytes(method: str, target: bytes | str, *headers: bytes, body: bytes = b"") -> bytes:
    """An HTTP request with nothing checked."""
    target = target.encode() if isinstance(target, str) else target
    head = [method.encode() + b" " + target + b" HTTP/1.1", b"Host: relay.example", *headers]
    return b"\r\n".join([*head, b"", body])


def chunked(data: bytes, size: int = 65_536) -> bytes:
    pieces = [data[start : start + size] for start in range(0, len(data), size)]
    return b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


def call(user: User, name: str, body: bytes, **headers: str) -> Any:
    method, path = JSON_ROUTES[name]
    headers = {"Content-Type": "application/json"} | headers
    return user.api.call(method, path, token=user.token, data=body, headers=headers)
