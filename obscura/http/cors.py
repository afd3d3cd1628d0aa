"""Web clients: what pages of listed origins may do, and what those of others may not.

No answer ever allows credentials: tokens travel in a header that a page sets itself, so
there is no cookie that another page could use.
"""

from collections.abc import Awaitable, Iterable

from aiohttp import hdrs, web

from obscura.errors import Forbidden
from obscura.http.request_handling import REQUEST_ID_HEADER, Handler

_ALLOWED_HEADERS = f"Authorization, Content-Type, Idempotency-Key, If-None-Match, If-Range, Range, {REQUEST_ID_HEADER}"
_EXPOSED_HEADERS = f"Accept-Ranges, Content-Range, ETag, Retry-After, {REQUEST_ID_HEADER}"
_MAX_AGE_SECS = 600  # browsers ask before every request otherwise


class Cors:
    """aiohttp's middleware and its signal before an answer's first byte.

    Args:
        origins: Those that may, as browsers write them.
    """

    __middleware_version__ = 1  # aiohttp's mark

    def __init__(self, origins: Iterable[str]) -> None:
        self._origins = frozenset(origins)

    def __call__(self, request: web.Request, handler: Handler) -> Awaitable[web.StreamResponse]:
        """Answer a preflight, and refuse a WebSocket to a page of another origin.

        Browsers let any page open a WebSocket anywhere. A client that is no browser sends
        no Origin and passes.

        Raises:
            Forbidden: The page's origin is not listed.
        """
        origin = request.headers.get(hdrs.ORIGIN)
        if origin is not None:
            if origin in self._origins:
                if _is_preflight(request):
                    return _allow(request)
            elif hdrs.UPGRADE in request.headers:
                raise Forbidden("This origin is not allowed")
        return handler(request)

    async def on_response_prepare(self, request: web.Request, response: web.StreamResponse) -> None:
        """Let a page of a listed origin read the answer, errors too."""
        response.headers.add(hdrs.VARY, hdrs.ORIGIN)
        origin = request.headers.get(hdrs.ORIGIN)
        if origin in self._origins:
            response.headers[hdrs.ACCESS_CONTROL_ALLOW_ORIGIN] = origin
            response.headers[hdrs.ACCESS_CONTROL_EXPOSE_HEADERS] = _EXPOSED_HEADERS


def _is_preflight(request: web.Request) -> bool:
    return (
        request.method == hdrs.METH_OPTIONS
        and hdrs.ACCESS_CONTROL_REQUEST_METHOD in request.headers
        and isinstance(request.match_info.http_exception, web.HTTPMethodNotAllowed)  # there is such a path
    )


async def _allow(request: web.Request) -> web.Response:
    refusal = request.match_info.http_exception
    assert isinstance(refusal, web.HTTPMethodNotAllowed)
    headers = {
        hdrs.ACCESS_CONTROL_ALLOW_METHODS: ", ".join(sorted(refusal.allowed_methods)),
        hdrs.ACCESS_CONTROL_ALLOW_HEADERS: _ALLOWED_HEADERS,
        hdrs.ACCESS_CONTROL_MAX_AGE: str(_MAX_AGE_SECS),
    }
    return web.Response(status=204, headers=headers)
