"""Limits per client address, in two tiers.

The standard tier is counted in the process, as it guards speed; the auth tier is counted
in Redis for all nodes, as it guards passwords. So without Redis nobody can log in, but
everything else says for itself what it cannot do.
"""

import math
import time
from collections.abc import Awaitable, Callable, Container

from aiohttp import web

from obscura.errors import TooManyRequests
from obscura.http.request_handling import CLIENT_OF, Handler
from obscura.observability.metrics.http import RATE_LIMITED

REFUSAL = "Too many requests"

_STANDARD_TIER = "standard"
_MAX_CLIENTS = 65_536  # remembered in each of two tables, 10 MiB together
_NS_PER_SEC = 1_000_000_000


class LocalTokenBuckets:
    """Token buckets of this process, one per client, each one number: when it is full again.

    Whoever is not listed has a full bucket. There are two tables, and no client is looked
    through: what has not been touched for the time a bucket takes to fill is dropped as a
    table. A flood of addresses makes that happen earlier, so memory is bounded; its price
    is that some of the flooders start with a full bucket again.

    Args:
        per_second: Tokens a bucket gains.
        burst: Tokens it holds.
        now_ns: A clock that never goes back.
        max_clients: Remembered in each table.
    """

    def __init__(
        self,
        per_second: float,
        burst: int,
        now_ns: Callable[[], int] = time.monotonic_ns,
        max_clients: int = _MAX_CLIENTS,
    ) -> None:
        self._interval_ns = math.ceil(_NS_PER_SEC / per_second)
        self._fill_ns = burst * self._interval_ns
        self._tolerance_ns = self._fill_ns - self._interval_ns
        self._now_ns = now_ns
        self._max_clients = max_clients
        self._recent: dict[str, int] = {}
        self._older: dict[str, int] = {}
        self._next_turn_ns = 0

    def __len__(self) -> int:
        """How many clients are remembered, some twice."""
        return len(self._recent) + len(self._older)

    def take(self, client: str) -> None:
        """Take a token.

        Raises:
            TooManyRequests: There is none.
        """
        now_ns = self._now_ns()
        if now_ns >= self._next_turn_ns or len(self._recent) >= self._max_clients:
            self._turn(now_ns)
        full_ns = self._recent.get(client) or self._older.get(client, 0)
        wait_ns = full_ns - self._tolerance_ns - now_ns
        if wait_ns > 0:
            RATE_LIMITED.labels(_STANDARD_TIER).inc()
            raise TooManyRequests(REFUSAL, -(-wait_ns // _NS_PER_SEC))
        self._recent[client] = max(now_ns, full_ns) + self._interval_ns

    def _turn(self, now_ns: int) -> None:
        # Who is in the older table alone was last served before the turn before this one.
        is_full = now_ns >= self._next_turn_ns + self._fill_ns
        self._older = {} if is_full else self._recent
        self._recent = {}
        self._next_turn_ns = now_ns + self._fill_ns


class RateLimits:
    """aiohttp's middleware that refuses a request before its body is read.

    Not a coroutine, for the sake of the standard tier: a request pays for no further
    frame, and a socket does not keep one for its life.

    Args:
        standard: Counts a request of a client, or refuses it.
        auth: The same for ``auth_handlers``.
    """

    __middleware_version__ = 1  # aiohttp's mark

    def __init__(
        self,
        standard: Callable[[str], None],
        auth: Callable[[str], Awaitable[None]],
        auth_handlers: Container[object],
    ) -> None:
        self._standard = standard
        self._auth = auth
        self._auth_handlers = auth_handlers

    def __call__(self, request: web.Request, handler: Handler) -> Awaitable[web.StreamResponse]:
        client = request.app[CLIENT_OF](request)
        if request.match_info.handler in self._auth_handlers:
            return self._after_auth(client, request, handler)
        self._standard(client)
        return handler(request)

    async def _after_auth(self, client: str, request: web.Request, handler: Handler) -> web.StreamResponse:
        await self._auth(client)
        return await handler(request)
