"""One row of a route table. What depends on routes is made from such rows: limits, CORS, the fast path."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from aiohttp import hdrs, web

from obscura.http.bodies import check_expectation
from obscura.settings import limits

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

STANDARD_TIER = limits.STANDARD.tier
AUTH_TIER = limits.AUTH.tier


@dataclass(frozen=True, slots=True)
class Route(web.AbstractRouteDef):
    """What serves the requests for one method and path.

    Attributes:
        path: As the OpenAPI document writes it, parameters in braces.
        tier: The limit that counts its requests, `STANDARD_TIER` or `AUTH_TIER`.
        failure_tier: `AUTH_TIER` if a request that fails by its client's doing counts there besides.
        request_headers: Those that it reads beyond Authorization and Content-Type: a page of another origin
            must be allowed to send them.
        response_headers: Those of its answers beyond what all have: a page must be allowed to read them.
        allows_head: HEAD is served too, by the same handler.
    """

    method: str
    path: str
    handler: Handler
    tier: str = STANDARD_TIER
    failure_tier: str | None = None
    request_headers: tuple[str, ...] = ()
    response_headers: tuple[str, ...] = ()
    allows_head: bool = False

    def register(self, router: web.UrlDispatcher) -> list[web.AbstractRoute]:
        """Enter the route in aiohttp's table, which calls this."""
        methods = [self.method, hdrs.METH_HEAD] if self.allows_head else [self.method]
        return [
            router.add_route(method, self.path, self.handler, expect_handler=check_expectation) for method in methods
        ]
