"""Web clients: what pages of listed origins may do, and what those of others may not.

No answer ever allows credentials: tokens travel in a header that a page sets itself, so
there is no cookie that another page could use.
"""

import re
from collections.abc import Awaitable, Iterable, Sequence

from aiohttp import hdrs, web

from obscura.errors import Forbidden
from obscura.http.responses import REQUEST_ID_HEADER
from obscura.http.route import Handler, Route

_MAX_AGE_SECS = 600  # browsers ask before every request otherwise

# RFC 6454 section 6.2, with the schemes that libraries for apps write for a WebSocket.
_ORIGIN = re.compile(r"(https?|wss?)://([^/?#@]+)", re.IGNORECASE)
_HOST = re.compile(r"(\[[^\]]*\]|[^:]+)(?::([0-9]{0,5}))?")
_DEFAULT_PORTS = {"http": 80, "https": 443, "ws": 80, "wss": 443}


class Cors:
    """aiohttp's middleware and its signal before an answer's first byte.

    To be installed before the limits: a preflight is a question of the browser's, which a page can
    neither leave out nor ask again, so it is answered whatever its client has used up.

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
        no Origin and passes, or the server's own one, which some libraries make up.

        Raises:
            Forbidden: The page's origin is neither listed nor the server's own.
            web.HTTPException: A preflight for a path that is not there.
        """
        origin = request.headers.get(hdrs.ORIGIN)
        if origin is not None:
            if origin in self._origins:
                if request.method == hdrs.METH_OPTIONS and hdrs.ACCESS_CONTROL_REQUEST_METHOD in request.headers:
                    return self._answer_preflight(request, handler)
            elif hdrs.UPGRADE in request.headers and not _is_own(origin, request.headers.get(hdrs.HOST, "")):
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
        """Answer what a browser asks before it sends a page's request (Fetch standard, "CORS-preflight fetch").

        The routing table has looked the path up already; no handler and no limit hears of it.
        """
        refusal = request.match_info.http_exception
        if refusal is None:
            return await handler(request)  # a route that takes OPTIONS
        if not isinstance(refusal, web.HTTPMethodNotAllowed):
            raise refusal
        headers = {
            hdrs.ACCESS_CONTROL_ALLOW_METHODS: ", ".join(sorted(refusal.allowed_methods)),
            hdrs.ACCESS_CONTROL_ALLOW_HEADERS: self._allowed_headers,
            hdrs.ACCESS_CONTROL_MAX_AGE: str(_MAX_AGE_SECS),
        }
        return web.Response(status=204, headers=headers)


def _is_own(origin: str, host: str) -> bool:
    """Whether an Origin names the host and the port that its request was sent to.

    A proxy may speak TLS for this server, so the scheme is not compared: it only says which port is
    meant where none is written.
    """
    parts = _ORIGIN.fullmatch(origin)
    if parts is None:
        return False
    default_port = _DEFAULT_PORTS[parts[1].lower()]
    named = _host_and_port(parts[2], default_port)
    return named is not None and named == _host_and_port(host, default_port)


def _host_and_port(text: str, default_port: int) -> tuple[str, int] | None:
    parts = _HOST.fullmatch(text)
    return (parts[1].lower(), int(parts[2] or default_port)) if parts else None
