"""The management port, never exposed to clients: /livez, /readyz, /metrics."""

from collections.abc import Awaitable, Callable, Mapping

import orjson
from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

Check = Callable[[], Awaitable[bool]]

CHECKS: web.AppKey[Mapping[str, Check]] = web.AppKey("checks")
IS_DRAINING: web.AppKey[Callable[[], bool]] = web.AppKey("is_draining")

_MAY_FAIL = frozenset({"storage"})  # messaging goes on without attachments


async def livez(_request: web.Request) -> web.Response:
    """The process runs."""
    return _json(200, {"status": "ok"})


async def readyz(request: web.Request) -> web.Response:
    """Whether a load balancer should send clients here, and if not, why."""
    results = {name: "ok" if await check() else "error" for name, check in request.app[CHECKS].items()}
    failed = {name for name, result in results.items() if result == "error"}
    draining = request.app[IS_DRAINING]()
    if draining or failed - _MAY_FAIL:
        return _json(503, {"status": "draining" if draining else "error", **results})
    return _json(200, {"status": "degraded" if failed else "ok", **results})


async def metrics(_request: web.Request) -> web.Response:
    """Prometheus's text format."""
    return web.Response(body=generate_latest(), headers={"Content-Type": CONTENT_TYPE_LATEST})


def _json(status: int, body: Mapping[str, str]) -> web.Response:
    return web.Response(status=status, body=orjson.dumps(body), content_type="application/json")
