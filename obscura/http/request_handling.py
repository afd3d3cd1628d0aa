"""Around every request: its id, its errors as JSON, its line in the log and its count.

`answering` wraps the whole application rather than being one of aiohttp's middlewares,
because some answers of aiohttp's own (417, for one) never pass those. What is no HTTP at
all never gets that far: `malformed` answers it.
"""

import logging
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Protocol
from uuid import UUID

from aiohttp import hdrs, web

from obscura.api.json.keys import error_body
from obscura.crypto.tokens import AccessClaims
from obscura.errors import (
    BadRequest,
    RangeNotSatisfiable,
    RequestError,
    Unauthorized,
    Unavailable,
)
from obscura.http.bodies import waits_for_continue
from obscura.observability.logs import ThrottleFilter, new_request_id, request_id
from obscura.observability.metrics.http import REQUESTS, REQUESTS_ABORTED, SERVER_ERRORS
from obscura.observability.tracing import Tracing, current_span

_REFUSED = "request refused"

log = logging.getLogger(__name__)
log.addFilter(ThrottleFilter(_REFUSED, 1.0))  # while Redis is away every request is

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Express(Protocol):
    """A short way for some requests of one route."""

    @property
    def route(self) -> str: ...

    def takes(self, request: web.Request) -> bool: ...

    async def serve(self, request: web.Request) -> web.StreamResponse: ...


AUTHENTICATE: web.AppKey[Callable[[str], AccessClaims]] = web.AppKey("authenticate")
CLIENT_OF: web.AppKey[Callable[[web.Request], str]] = web.AppKey("client_of")

REQUEST_ID_HEADER = "x-request-id"

_SANE_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_NO_ROUTE = "unknown"
_METHODS = frozenset({"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"})
_OTHER_METHOD = "other"
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.IGNORECASE)
NOT_CACHED = "no-store"  # where a handler says nothing else
SECURITY_HEADERS = {
    "Referrer-Policy": "no-referrer",  # the gateway's URL carries a token
    "Server": "obscura",
    "X-Content-Type-Options": "nosniff",
}


def answering(handler: Handler, tracing: Tracing | None = None, express: Express | None = None) -> Handler:
    """Have ``handler``'s errors answered in JSON and each request identified, logged, counted and perhaps traced.

    Args:
        express: Serves what it takes in place of ``handler``. Not asked while there are traces.
    """

    async def answer(request: web.Request) -> web.StreamResponse:
        started = time.perf_counter()
        given = request.headers.get(REQUEST_ID_HEADER)
        request_id.set(given if given and _SANE_REQUEST_ID.fullmatch(given) else new_request_id())
        if express is not None and express.takes(request):
            return await _answer_express(express, request, started)
        try:
            response = await _respond(handler, request)
        except BaseException:
            REQUESTS_ABORTED.inc()
            raise
        if waits_for_continue(request):
            response.force_close()  # who knows whether the body will come all the same
        _record(request.method, _route_of(request), response.status, started)
        return response

    return answer if tracing is None else _traced(answer, tracing)


async def _answer_express(express: Express, request: web.Request, started: float) -> web.StreamResponse:
    try:
        response = await _respond(express.serve, request)
    except BaseException:
        REQUESTS_ABORTED.inc()
        raise
    if response.status >= HTTPStatus.BAD_REQUEST:
        add_headers(response)  # an answer of aiohttp's kind, whose route has not been looked for
    _record(request.method, express.route, response.status, started)
    return response


def malformed() -> web.Response:
    """Answer what is not HTTP: no method, path or header of it can be relied on."""
    started = time.perf_counter()
    request_id.set(new_request_id())
    response = error_response(400, "The request is not valid HTTP")
    add_headers(response)
    _record("-", _NO_ROUTE, response.status, started)
    return response


async def on_response_prepare(request: web.Request, response: web.StreamResponse) -> None:
    """Give an answer the headers that all have: aiohttp's signal before its first byte, the 101's too."""
    add_headers(response)
    if response.status == 101 and (span := current_span.get()) is not None:
        current_span.set(None)  # the request is over, as far as traces go: a socket lasts for days
        span.end(_known(request.method), _route_of(request), 101)


def error_response(status: int, message: str, headers: Mapping[str, str] | None = None) -> web.Response:
    """An ErrorResponse of the contract."""
    return web.Response(status=status, body=error_body(message), content_type="application/json", headers=headers)


def require_user(request: web.Request) -> AccessClaims:
    """Whose bearer token the request carries.

    Raises:
        Unauthorized: None, or none that holds.
    """
    return require_bearer(request, request.app[AUTHENTICATE])


def require_bearer(request: web.Request, authenticate: Callable[[str], AccessClaims]) -> AccessClaims:
    """As `require_user`, of a request whose route has not been looked for."""
    scheme, _, token = request.headers.get(hdrs.AUTHORIZATION, "").partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise Unauthorized("Missing bearer token")
    return authenticate(token.strip())


def uuid_in_path(request: web.Request, name: str) -> UUID:
    """A path parameter.

    Raises:
        BadRequest: It is no UUID.
    """
    text = request.match_info[name]
    if not _UUID.fullmatch(text):
        raise BadRequest(f"{name} is not a UUID")
    return UUID(text)


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
        current_span.set(span)
        status = None
        try:
            response = await handler(request)
            status = response.status
            return response
        finally:
            current_span.set(None)  # the next request on this connection is served by the same task
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


def add_headers(response: web.StreamResponse) -> None:
    response.headers.setdefault(hdrs.CACHE_CONTROL, NOT_CACHED)
    response.headers.update(SECURITY_HEADERS)
    response.headers[REQUEST_ID_HEADER] = request_id.get()


def _record(method: str, route: str, status: int, started: float) -> None:
    REQUESTS.record(_known(method), route, status, started)
    if log.isEnabledFor(logging.DEBUG):
        ms = round((time.perf_counter() - started) * 1000, 2)
        log.debug("request", extra={"method": method, "route": route, "status": status, "ms": ms})
