"""The management port, never exposed to clients: /livez, /readyz, /metrics."""

from collections.abc import Awaitable, Callable, Mapping

import orjson
from aiohttp import web

from obscura.http.route import Route
from obscura.observability.exposition import METRICS_CONTENT_TYPE

READINESS: web.AppKey[Callable[[], Awaitable[Mapping[str, str]]]] = web.AppKey("readiness")
METRICS: web.AppKey[Callable[[], Awaitable[bytes]]] = web.AppKey("metrics")

_READY = frozenset({"ok", "degraded"})


async def livez(_request: web.Request) -> web.Response:
    """The process runs."""
    return _json(200, {"status": "ok"})


async def readyz(request: web.Request) -> web.Response:
    """Whether a load balancer should send clients here, and if not, why."""
    readiness = await request.app[READINESS]()
    return _json(200 if readiness["status"] in _READY else 503, readiness)


async def metrics(request: web.Request) -> web.Response:
    """Prometheus's text format."""
    return web.Response(body=await request.app[METRICS](), headers={"Content-Type": METRICS_CONTENT_TYPE})


def _json(status: int, body: Mapping[str, str]) -> web.Response:
    return web.Response(status=status, body=orjson.dumps(body), content_type="application/json")


ROUTES = (
    Route("GET", "/livez", livez, allows_head=True),
    Route("GET", "/readyz", readyz, allows_head=True),
    Route("GET", "/metrics", metrics, allows_head=True),
)
