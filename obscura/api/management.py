"""The management port, never exposed to clients: /livez, /readyz, /metrics."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping

import orjson
from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

log = logging.getLogger(__name__)

Check = Callable[[], Awaitable[bool]]

CHECKS: web.AppKey[Mapping[str, Check]] = web.AppKey("checks")
IS_DRAINING: web.AppKey[Callable[[], bool]] = web.AppKey("is_draining")

_MAY_FAIL = frozenset({"storage"})  # messaging goes on without attachments


async def livez(_request: web.Request) -> web.Response:
    """The process runs."""
    return _json(200, {"status": "ok"})


async def readyz(request: web.Request) -> web.Response:
    """Whether a load balancer should send clients here, and if not, why."""
    checks = request.app[CHECKS]
    passed = await asyncio.gather(*(_passes(check) for check in checks.values()))
    results = {name: "ok" if ok else "error" for name, ok in zip(checks, passed, strict=True)}
    failed = {name for name, result in results.items() if result == "error"}
    draining = request.app[IS_DRAINING]()
    if draining or failed - _MAY_FAIL:
        return _json(503, {"status": "draining" if draining else "error", **results})
    return _json(200, {"status": "degraded" if failed else "ok", **results})


async def metrics(_request: web.Request) -> web.Response:
    """Prometheus's text format."""
    return web.Response(body=generate_latest(), headers={"Content-Type": CONTENT_TYPE_LATEST})


async def _passes(check: Check) -> bool:
    try:
        return await check()
    except Exception:
        # Whatever it is, the thing that was checked is not well; the others are still reported.
        log.exception("a health check failed by itself")
        return False


def _json(status: int, body: Mapping[str, str]) -> web.Response:
    return web.Response(status=status, body=orjson.dumps(body), content_type="application/json")
