"""Around every request: its id, its errors as JSON, its line in the log and its count.

`wrap_handler` wraps the whole application rather than being one of aiohttp's middlewares,
because some answers of aiohttp's own (417, for one) never pass those. What is no HTTP at
all never gets that far: `malformed_request_response` answers it.
"""

import logging
import re
import time
from collections.abc import Callable
from http import HTTPStatus
from typing import Protocol

from aiohttp import web

from obscura.errors import RequestError, TooFewOpenFiles, Unavailable
from obscura.http.aiohttp_internals import has_begun_answer
from obscura.http.bodies import waits_for_continue
from obscura.http.responses import (
    REQUEST_ID_HEADER,
    add_headers,
    error_response,
    error_response_for,
    http_error_response_for,
    server_fault_response,
)
from obscura.http.route import Handler
from obscura.observability.logs import new_request_id, request_id
from obscura.observability.metrics.http import REQUESTS, REQUESTS_ABORTED
from obscura.observability.tracing import Tracing, current_span

log = logging.getLogger(__name__)

_SANE_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
_NO_ROUTE = "unknown"
_NO_ROOM_SECS = 5  # requests are short
_METHODS = frozenset({"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"})
_OTHER_METHOD = "other"


class FastPath(Protocol):
    """A short way for the ordinary requests of one route, past aiohttp's routing table and middlewares."""

    @property
    def route(self) -> str:
        """The path of the route, in the log and the metrics."""

    def accepts(self, request: web.Request) -> bool:
        """Whether it serves this request; any other goes the usual way."""

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """Answer a request that it accepts."""


def wrap_handler(handler: Handler, tracing: Tracing | None = None, fast_path: FastPath | None = None) -> Handler:
    """Have ``handler``'s errors answered in JSON and each request identified, logged, counted and perhaps traced.

    Args:
        fast_path: Serves what it accepts in place of ``handler``.
    """

    async def answer(request: web.Request) -> web.StreamResponse:
        started = time.perf_counter()
        given = request.headers.get(REQUEST_ID_HEADER)
        request_id.set(given if given and _SANE_REQUEST_ID.fullmatch(given) else new_request_id())
        fast = fast_path if fast_path is not None and fast_path.accepts(request) else None
        try:
            response = await _respond(handler if fast is None else fast.serve, request)
        except BaseException:
            REQUESTS_ABORTED.inc()
            raise
        if fast is None:
            route = _route_of(request)
            if waits_for_continue(request):
                response.force_close()  # who knows whether the body will come all the same
        else:
            route = fast.route
            if response.status >= HTTPStatus.BAD_REQUEST:
                add_headers(response)  # aiohttp's signal is not sent for a request that was not routed
        _record(request.method, route, response.status, started)
        return response

    return answer if tracing is None else _traced(answer, tracing)


def malformed_request_response() -> web.Response:
    """Answer what is not HTTP: no method, path or header of it can be relied on."""
    return _answer_unread(lambda: error_response(400, "The request is not valid HTTP"))


def refused_connection_response() -> web.Response:
    """Answer the first request on a connection that is one too many, whatever it asks for."""
    refusal = TooFewOpenFiles("open files are too few for another connection", _NO_ROOM_SECS)
    return _answer_unread(lambda: error_response_for(refusal))


async def on_response_prepare(request: web.Request, response: web.StreamResponse) -> None:
    """Give an answer the headers that all have: aiohttp's signal before its first byte, the 101's too."""
    add_headers(response)
    if response.status == 101 and (span := current_span.get()) is not None:
        current_span.set(None)  # the request is over, as far as traces go: a socket lasts for days
        span.end(_known(request.method), _route_of(request), 101)


def _answer_unread(make: Callable[[], web.Response]) -> web.Response:
    started = time.perf_counter()
    request_id.set(new_request_id())
    response = make()
    add_headers(response)
    _record("-", _NO_ROUTE, response.status, started)
    return response


async def _respond(handler: Handler, request: web.Request) -> web.StreamResponse:
    try:
        return await handler(request)
    except (RequestError, Unavailable) as error:
        response = error_response_for(error)
    except web.HTTPException as error:
        response = http_error_response_for(error)
    except web.RequestPayloadError:
        response = error_response(400, "The body is not framed as its headers say")
    except ConnectionError:
        raise  # the client is gone: there is nobody to answer
    except Exception as error:
        response = server_fault_response("unexpected error", error)
    if has_begun_answer(request):
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


def _record(method: str, route: str, status: int, started: float) -> None:
    REQUESTS.record(_known(method), route, status, started)
    if log.isEnabledFor(logging.DEBUG):
        ms = round((time.perf_counter() - started) * 1000, 2)
        log.debug("request", extra={"method": method, "route": route, "status": status, "ms": ms})
