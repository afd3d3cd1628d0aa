"""Requests counted for each client address, in the tier of their route."""

from collections.abc import Awaitable, Callable, Iterable

from aiohttp import web

from obscura.errors import RequestError
from obscura.http.client_address import CLIENT_OF
from obscura.http.route import AUTH_TIER, Handler, Route


class RateLimits:
    """aiohttp's middleware that refuses a request before its body is read.

    The standard tier is counted in the process, as it guards speed; the auth tier is counted
    in Redis for all nodes, as it guards passwords. So without Redis nobody can log in, but
    everything else says for itself what it cannot do.

    What guesses nothing when it succeeds counts in the auth tier when it fails, and only then: clients
    behind one address cannot keep each other from going on. A failure over that limit is a 429.

    Not a coroutine, for the sake of the standard tier: a request pays for no further
    frame, and a socket does not keep one for its life.

    Args:
        standard: Counts a request of a client, or refuses it: of all routes of no other tier, and of none.
        auth: The same for the routes of the auth tier.
        routes: The table.
    """

    def __init__(
        self,
        standard: Callable[[str], None],
        auth: Callable[[str], Awaitable[None]],
        routes: Iterable[Route],
    ) -> None:
        self._standard = standard
        self._auth = auth
        table = tuple(routes)
        self._auth_handlers = frozenset(route.handler for route in table if route.tier == AUTH_TIER)
        self._guarded_handlers = frozenset(route.handler for route in table if route.failure_tier == AUTH_TIER)

    def install(self, app: web.Application) -> None:
        """Have an application's requests pass here."""
        app.middlewares.append(web.middleware(self))

    def __call__(self, request: web.Request, handler: Handler) -> Awaitable[web.StreamResponse]:
        client = request.app[CLIENT_OF](request)
        called = request.match_info.handler
        if called in self._auth_handlers:
            return self._after_auth(client, request, handler)
        self._standard(client)
        if called in self._guarded_handlers:
            return self._counting_failures(client, request, handler)
        return handler(request)

    async def _after_auth(self, client: str, request: web.Request, handler: Handler) -> web.StreamResponse:
        await self._auth(client)
        return await handler(request)

    async def _counting_failures(self, client: str, request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        except RequestError:
            await self._auth(client)
            raise
