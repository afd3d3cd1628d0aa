"""Web clients: what pages of listed origins may do, and what those of others may not.

No answer ever allows credentials: tokens travel in a header that a page sets itself, so
there is no cookie that another page could use.
"""

from collections.abc import Awaitable, Iterable, Sequence

from aiohttp import hdrs, web

from obscura.errors import Forbidden
from obscura.http.responses import REQUEST_ID_HEADER
from obscura.http.route import Handler, Route

_MAX_AGE_SECS = 600  # browsers ask before every request otherwise


class Cors:
    """aiohttp's middleware and its signal before an answer's first byte.

    Args:
        origins: Those that may, as browsers write them.
        routes: Whose headers pages may send and read.
    """

    def __init__(self, origins: Iterable[str], routes: Sequence[Route]) -> None:
        self._origins = frozenset(origins)
        sent = {hdrs.AUTHORIZATION, hdrs.CONTENT_TYPE, *(name for route in routes for name in route.request_headers)}
        read = {hdrs.RETRY_AFTER, *(name for route in routes for name in route.response_headers)}
        self._allowed_headers = ", ".join([*sorted(sent), REQUEST_ID_HEADER])
        self._exposed_headers = ", ".join([*sorted(read), REQUEST_ID_HEADER])

    def install(self, app: web.Application) -> None:
        """Have an application's requests pass here."""
        app.middlewares.append(web.middleware(self))
        app.on_response_prepare.append(self.on_response_prepare)

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
                if request.method == hdrs.METH_OPTIONS and hdrs.ACCESS_CONTROL_REQUEST_METHOD in request.headers:
                    return self._answer_preflight(request, handler)
            elif hdrs.UPGRADE in request.headers:
                raise Forbidden("This origin is not allowed")
        return handler(request)

    async def on_response_prepare(self, request: web.Request, response: web.StreamResponse) -> None:
        """Let a page of a listed origin read the answer, errors too."""
        response.headers.add(hdrs.VARY, hdrs.ORIGIN)
        origin = request.headers.get(hdrs.ORIGIN)
        if origin in self._origins:
            response.headers[hdrs.ACCESS_CONTROL_ALLOW_ORIGIN] = origin
            response.headers[hdrs.ACCESS_CONTROL_EXPOSE_HEADERS] = self._exposed_headers

    async def _answer_preflight(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Answer what a browser asks before it sends a page's request (Fetch standard, "CORS-preflight fetch")."""
        try:
            return await handler(request)
        except web.HTTPMethodNotAllowed as refusal:  # no route takes OPTIONS, so there is such a path
            headers = {
                hdrs.ACCESS_CONTROL_ALLOW_METHODS: ", ".join(sorted(refusal.allowed_methods)),
                hdrs.ACCESS_CONTROL_ALLOW_HEADERS: self._allowed_headers,
                hdrs.ACCESS_CONTROL_MAX_AGE: str(_MAX_AGE_SECS),
            }
            return web.Response(status=204, headers=headers)
