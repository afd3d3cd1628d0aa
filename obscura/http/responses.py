"""What every answer has: errors in JSON, the headers, the date."""

import logging
import time
from collections.abc import Mapping
from email.utils import formatdate
from http import HTTPStatus

import orjson
from aiohttp import hdrs, web

from obscura.errors import RangeNotSatisfiable, RequestError, Unavailable
from obscura.observability.logs import ThrottleFilter, request_id
from obscura.observability.metrics.http import SERVER_ERRORS

_REFUSED = "request refused"

log = logging.getLogger(__name__)
log.addFilter(ThrottleFilter(_REFUSED, 1.0))  # while Redis is away every request is

REQUEST_ID_HEADER = "x-request-id"
NOT_CACHED = "no-store"  # where a handler says nothing else
SECURITY_HEADERS = {
    "Referrer-Policy": "no-referrer",  # the gateway's URL carries a token
    "Server": "obscura",
    "X-Content-Type-Options": "nosniff",
}

_date_second = 0
_date = ""


def error_response(status: int, message: str, headers: Mapping[str, str] | None = None) -> web.Response:
    """An ErrorResponse of the contract."""
    body = orjson.dumps({"error": message})
    return web.Response(status=status, body=body, content_type="application/json", headers=headers)


def error_response_for(error: RequestError | Unavailable) -> web.Response:
    """Answer an error of ours; one that is not the client's doing is logged and counted."""
    text = str(error)
    if isinstance(error, Unavailable):
        SERVER_ERRORS.labels(error.cause).inc()
        log.warning(_REFUSED, extra={"reason": text})
        text = Unavailable.public_text
    headers: dict[str, str] = {hdrs.RETRY_AFTER: str(error.retry_after_secs)} if error.retry_after_secs else {}
    if isinstance(error, RangeNotSatisfiable):
        headers[hdrs.CONTENT_RANGE] = f"bytes */{error.total_bytes}"  # RFC 9110 section 15.5.17
    return error_response(error.status, text, headers)


def http_error_response_for(error: web.HTTPException) -> web.Response:
    """Answer an error of aiohttp's own, such as the 404 of a path without a route, in JSON."""
    headers: dict[str, str] | None = {hdrs.ALLOW: error.headers[hdrs.ALLOW]} if hdrs.ALLOW in error.headers else None
    return error_response(error.status, HTTPStatus(error.status).phrase.capitalize(), headers)


def server_fault_response(log_message: str, error: BaseException | None) -> web.Response:
    """Answer a fault of the server's own, which its operator finds in the log."""
    SERVER_ERRORS.labels("fault").inc()
    log.error(log_message, exc_info=error)
    return error_response(500, "Internal server error")


def add_headers(response: web.StreamResponse) -> None:
    """Add the headers that all answers have; a handler's own Cache-Control stays."""
    response.headers.setdefault(hdrs.CACHE_CONTROL, NOT_CACHED)
    response.headers.update(SECURITY_HEADERS)
    response.headers[REQUEST_ID_HEADER] = request_id.get()


def http_date() -> str:
    """The current second, as the Date header has it (RFC 9110 section 5.6.7); written anew once a second."""
    global _date_second, _date
    second = int(time.time())
    if _date_second != second:
        _date_second, _date = second, formatdate(second, usegmt=True)
    return _date
