"""Around every request: its id, its errors as JSON, its line in the log and its count.

`answering` wraps the whole application rather than being one of aiohttp's middlewares,
because some answers of aiohttp's own (417, for one) never pass those. What is no HTTP at
all never gets that far: `malformed` answers it.
"""

import asyncio
import logging
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from http import HTTPStatus
from uuid import UUID, uuid4

from aiohttp import HttpVersion11, hdrs, web

from obscura.crypto.tokens import AccessClaims
from obscura.errors import (
    BadRequest,
    PayloadTooLarge,
    RangeNotSatisfiable,
    RequestError,
    RequestTimeout,
    Unauthorized,
    Unavailable,
    UnsupportedMediaType,
)
from obscura.telemetry import REQUESTS, REQUESTS_ABORTED, SERVER_ERRORS, Seldom, request_id
from obscura.tracing import Tracing, serving
from obscura.wire import error_body

_REFUSED = "request refused"

log = logging.getLogger(__name__)
log.addFilter(Seldom(_REFUSED, 1.0))  # while Redis is away every request is

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

AUTHENTICATE: web.AppKey[Callable[[str], AccessClaims]] = web.AppKey("authenticate")
CLIENT_OF: web.AppKey[Callable[[web.Request], str]] = web.AppKey("client_of")
BODY_STALL_SECS = web.AppKey("body_stall_secs", float)

REQUEST_ID_HEADER = "x-request-id"
MAX_JSON_BYTES = 1_048_576

_SANE_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_NO_ROUTE = "unknown"
_METHODS = frozenset({"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"})
_OTHER_METHOD = "other"
_LEAST_BODY_BYTES_PER_SEC = 4096  # a slow mobile link; who is slower holds the request open on purpose
_BODY_CHUNK_BYTES = 65_536  # all that has arrived would be some hundred KiB of each upload
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.IGNORECASE)
_NOT_CACHED = "no-store"  # where a handler says nothing else
_SECURITY_HEADERS = {
    "Referrer-Policy": "no-referrer",  # the gateway's URL carries a token
    "Server": "obscura",
    "X-Content-Type-Options": "nosniff",
}


def answering(handler: Handler, tracing: Tracing | None = None) -> Handler:
    """Have ``handler``'s errors answered in JSON and each request identified, logged, counted and perhaps traced."""

    async def answer(request: web.Request) -> web.StreamResponse:
        started = time.perf_counter()
        given = request.headers.get(REQUEST_ID_HEADER, "")
        request_id.set(given if _SANE_REQUEST_ID.fullmatch(given) else str(uuid4()))
        try:
            response = await _respond(handler, request)
        except BaseException:
            REQUESTS_ABORTED.inc()
            raise
        if _waits_for_continue(request):
            response.force_close()  # who knows whether the body will come all the same
        _record(request.method, _route_of(request), response.status, started)
        return response

    return answer if tracing is None else _traced(answer, tracing)


def malformed() -> web.Response:
    """Answer what is not HTTP: no method, path or header of it can be relied on."""
    started = time.perf_counter()
    request_id.set(str(uuid4()))
    response = error_response(400, "The request is not valid HTTP")
    _add_headers(response)
    _record("-", _NO_ROUTE, response.status, started)
    return response


async def check_expectation(request: web.Request) -> None:
    """aiohttp's hook for ``Expect``: refuse what cannot be met. The 100 waits until the body is wanted.

    RFC 9110 section 10.1.1. So a request that is refused by its head alone is told so at
    once, and its client does not send a body for nothing.

    Raises:
        web.HTTPExpectationFailed: It is not 100-continue.
    """
    if request.version >= HttpVersion11 and not _expects_continue(request):
        raise web.HTTPExpectationFailed


async def on_response_prepare(request: web.Request, response: web.StreamResponse) -> None:
    """Give an answer the headers that all have: aiohttp's signal before its first byte, the 101's too."""
    _add_headers(response)
    if response.status == 101 and (span := serving.get()) is not None:
        serving.set(None)  # the request is over, as far as traces go: a socket lasts for days
        span.end(_known(request.method), _route_of(request), 101)


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
        RequestTimeout: Nothing more of it came for a while.
    """
    refuse_compressed_body(request)
    if (request.content_length or 0) > max_bytes:
        raise _too_large(max_bytes)
    if request.content.is_eof():  # most bodies have come with their headers
        body = request.content.read_nowait()
        if len(body) > max_bytes:
            raise _too_large(max_bytes)
        return body
    return await _read_arriving(request, max_bytes)


def refuse_compressed_body(request: web.Request) -> None:
    """Raises:
    UnsupportedMediaType: The body is compressed.
    """
    if any(coding.lower() != "identity" for coding in request.headers.getall("Content-Encoding", ())):
        raise UnsupportedMediaType("A compressed body is not accepted")


async def body_chunks(request: web.Request) -> AsyncIterator[bytes]:
    """The body as it arrives. The time between two chunks is the caller's and does not count.

    Raises:
        RequestTimeout: Nothing more of it came for a while, or too little over all.
        ConnectionError: The client is gone.
    """
    now, stall_secs = asyncio.get_running_loop().time, request.app[BODY_STALL_SECS]
    patience_secs = stall_secs  # what is left of it; each byte brings some
    try:
        if _waits_for_continue(request):
            await request.writer.write(_CONTINUE)
            request.writer.output_size = 0  # nothing of the answer itself
        while True:
            began = now()
            async with asyncio.timeout(min(stall_secs, patience_secs)):
                chunk = await request.content.read(_BODY_CHUNK_BYTES)
            if not chunk:
                return
            patience_secs += len(chunk) / _LEAST_BODY_BYTES_PER_SEC - (now() - began)
            yield chunk
    except TimeoutError as error:
        raise RequestTimeout("The body stopped coming") from error
    except OSError as error:  # of the client's connection, which may end in more ways than a reset
        raise ConnectionResetError("the client is gone") from error


async def _read_arriving(request: web.Request, max_bytes: int) -> bytes:
    body = bytearray()
    async for chunk in body_chunks(request):
        body += chunk
        if len(body) > max_bytes:
            raise _too_large(max_bytes)
    return bytes(body)


def _expects_continue(request: web.Request) -> bool:
    return request.version >= HttpVersion11 and request.headers.get(hdrs.EXPECT, "").lower() == "100-continue"


def _waits_for_continue(request: web.Request) -> bool:
    """Whether the client holds its body back until it is asked for; one that sends already does not."""
    return _expects_continue(request) and not request.content.total_bytes and not request.content.is_eof()


def _too_large(max_bytes: int) -> PayloadTooLarge:
    return PayloadTooLarge(f"The body is over {max_bytes} bytes")


def _is_json(content_type: str) -> bool:
    return content_type == "application/json" or content_type.endswith("+json")


async def _respond(handler: Handler, request: web.Request) -> web.StreamResponse:
    try:
        return await handler(request)
    except (RequestError, Unavailable) as error:
        response = _refusal(error)
    except web.HTTPException as error:
        response = _http_error(error)
    except web.RequestPayloadError:
        response = error_response(400, "The body is not framed as its headers say")
    except ConnectionError:
        raise  # the client is gone: there is nobody to answer
    except Exception:
        SERVER_ERRORS.labels("fault").inc()
        log.exception("unexpected error")
        response = error_response(500, "Internal server error")
    if request.writer.output_size > 0:
        # A second answer in the middle of the first would be taken for a part of it.
        raise ConnectionError("the answer was under way already")
    return response


def _traced(handler: Handler, tracing: Tracing) -> Handler:
    async def trace(request: web.Request) -> web.StreamResponse:
        span = tracing.begin(request.headers.get("traceparent", ""))
        serving.set(span)
        status = None
        try:
            response = await handler(request)
            status = response.status
            return response
        finally:
            serving.set(None)  # the next request on this connection is served by the same task
            span.end(_known(request.method), _route_of(request), status)

    return trace


def _known(method: str) -> str:
    return method if method in _METHODS else _OTHER_METHOD


def _route_of(request: web.Request) -> str:
    resource = request.match_info.route.resource
    return resource.canonical if resource else _NO_ROUTE


def _refusal(error: RequestError | Unavailable) -> web.Response:
    text = str(error)
    if isinstance(error, Unavailable):
        SERVER_ERRORS.labels(error.cause).inc()
        log.warning(_REFUSED, extra={"reason": str(error)})
        text = Unavailable.public_text
    headers = {"Retry-After": str(error.retry_after_secs)} if error.retry_after_secs else {}
    if isinstance(error, RangeNotSatisfiable):
        headers["Content-Range"] = f"bytes */{error.total_bytes}"
    return error_response(error.status, text, headers)


def _http_error(error: web.HTTPException) -> web.Response:
    headers = {"Allow": error.headers["Allow"]} if "Allow" in error.headers else None
    return error_response(error.status, HTTPStatus(error.status).phrase.capitalize(), headers)


def _add_headers(response: web.StreamResponse) -> None:
    response.headers.setdefault(hdrs.CACHE_CONTROL, _NOT_CACHED)
    response.headers.update(_SECURITY_HEADERS)
    response.headers[REQUEST_ID_HEADER] = request_id.get()


def _record(method: str, route: str, status: int, started: float) -> None:
    REQUESTS.record(_known(method), route, status, started)
    if log.isEnabledFor(logging.DEBUG):
        ms = round((time.perf_counter() - started) * 1000, 2)
        log.debug("request", extra={"method": method, "route": route, "status": status, "ms": ms})
