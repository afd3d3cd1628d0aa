"""Around every request: its id, its errors as JSON, its line in the log and its count.

`answering` wraps the whole application rather than being one of aiohttp's middlewares,
because some answers of aiohttp's own (417, for one) never pass those.
"""

import logging
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from uuid import UUID, uuid4

from aiohttp import web

from obscura.crypto.tokens import AccessClaims
from obscura.errors import (
    BadRequest,
    PayloadTooLarge,
    RequestError,
    Unauthorized,
    Unavailable,
    UnsupportedMediaType,
)
from obscura.telemetry import REQUESTS, request_id
from obscura.wire import error_body

log = logging.getLogger(__name__)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

AUTHENTICATE: web.AppKey[Callable[[str], AccessClaims]] = web.AppKey("authenticate")

REQUEST_ID_HEADER = "x-request-id"
MAX_JSON_BYTES = 1_048_576

_SANE_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.IGNORECASE)
_SECURITY_HEADERS = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",  # the gateway's URL carries a token
    "Server": "obscura",
    "X-Content-Type-Options": "nosniff",
}


def answering(handler: Handler) -> Handler:
    """Have ``handler``'s errors answered in JSON and each request identified, logged and counted."""

    async def answer(request: web.Request) -> web.StreamResponse:
        started = time.perf_counter()
        given = request.headers.get(REQUEST_ID_HEADER, "")
        identity = given if _SANE_REQUEST_ID.fullmatch(given) else str(uuid4())
        request_id.set(identity)
        response = await _respond(handler, request)
        if not response.prepared:
            response.headers.update(_SECURITY_HEADERS)
            response.headers[REQUEST_ID_HEADER] = identity
        _record(request, response.status, time.perf_counter() - started)
        return response

    return answer


def error_response(status: int, message: str, headers: Mapping[str, str] | None = None) -> web.Response:
    """An ErrorResponse of the contract."""
    return web.Response(status=status, body=error_body(message), content_type="application/json", headers=headers)


def require_user(request: web.Request) -> AccessClaims:
    """Whose bearer token the request carries.

    Raises:
        Unauthorized: None, or none that holds.
    """
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise Unauthorized("Missing bearer token")
    return request.app[AUTHENTICATE](token.strip())


def uuid_in_path(request: web.Request, name: str) -> UUID:
    """A path parameter.

    Raises:
        BadRequest: It is no UUID.
    """
    text = request.match_info[name]
    if not _UUID.fullmatch(text):
        raise BadRequest(f"{name} is not a UUID")
    return UUID(text)


async def read_json_body(request: web.Request) -> bytes:
    """The body of a route that takes JSON, not parsed yet.

    Raises:
        UnsupportedMediaType: It is declared to be something else.
        PayloadTooLarge: Over 1 MiB.
    """
    if "Content-Type" in request.headers and not _is_json(request.content_type):
        raise UnsupportedMediaType("The body is not application/json")
    return await read_body(request, MAX_JSON_BYTES)


async def read_body(request: web.Request, max_bytes: int) -> bytes:
    """The body, refused by its declared size before it is read where that is possible.

    Raises:
        UnsupportedMediaType: It is compressed.
        PayloadTooLarge: Over ``max_bytes``.
    """
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise UnsupportedMediaType("A compressed body is not accepted")
    if (request.content_length or 0) > max_bytes:
        raise PayloadTooLarge(f"The body is over {max_bytes} bytes")
    body = await request.read()
    if len(body) > max_bytes:
        raise PayloadTooLarge(f"The body is over {max_bytes} bytes")
    return body


def _is_json(content_type: str) -> bool:
    return content_type == "application/json" or content_type.endswith("+json")


async def _respond(handler: Handler, request: web.Request) -> web.StreamResponse:
    try:
        return await handler(request)
    except (RequestError, Unavailable) as error:
        return _refusal(error)
    except web.HTTPException as error:
        return _http_error(error)
    except web.RequestPayloadError:
        return error_response(400, "The body is not framed as its headers say")
    except ConnectionError:
        raise  # the client is gone: there is nobody to answer
    except Exception:
        log.exception("unexpected error")
        return error_response(500, "Internal server error")


def _refusal(error: RequestError | Unavailable) -> web.Response:
    text = str(error)
    if isinstance(error, Unavailable):
        log.warning("request refused: %s", error)
        text = Unavailable.public_text
    headers = {"Retry-After": str(error.retry_after_secs)} if error.retry_after_secs else None
    return error_response(error.status, text, headers)


def _http_error(error: web.HTTPException) -> web.Response:
    headers = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else None
    return error_response(error.status, HTTPStatus(error.status).phrase.capitalize(), headers)


def _record(request: web.Request, status: int, seconds: float) -> None:
    resource = request.match_info.route.resource
    route = resource.canonical if resource else "unknown"
    REQUESTS.labels(route, str(status)).inc()
    if log.isEnabledFor(logging.DEBUG):
        fields = {"method": request.method, "route": route, "status": status, "ms": round(seconds * 1000, 2)}
        log.debug("request", extra=fields)
