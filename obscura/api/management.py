"""The management port, never exposed to clients: /livez, /readyz, /metrics."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping

import orjson
from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from obscura.http.route import Route

log = logging.getLogger(__name__)

Check = Callable[[], Awaitable[bool]]

READINESS: web.AppKey[Callable[[], Awaitable[Mapping[str, str]]]] = web.AppKey("readiness")
METRICS: web.AppKey[Callable[[], Awaitable[bytes]]] = web.AppKey("metrics")

_READY = frozenset({"ok", "degraded"})
_MAY_FAIL = frozenset({"storage"})  # messaging goes on without attachments


class Readiness:
    """Whether clients should be sent to this process, and if not, why: the answer of /readyz."""

    def __init__(self, checks: Mapping[str, Check], is_draining: Callable[[], bool]) -> None:
        self._checks = checks
        self._is_draining = is_draining

    async def __call__(self) -> Mapping[str, str]:
        passed = await asyncio.gather(*(_passes(check) for check in self._checks.values()))
        results = {name: "ok" if ok else "error" for name, ok in zip(self._checks, passed, strict=True)}
        return {"status": "draining" if self._is_draining() else status_of(results), **results}


def status_of(results: Mapping[str, str]) -> str:
    """What the results of the parts make of the whole: ok, degraded or error."""
    failed = {name for name, result in results.items() if result != "ok"}
    if failed - _MAY_FAIL:
        return "error"
    return "degraded" if failed else "ok"


async def livez(_request: web.Request) -> web.Response:
    """The process runs."""
    return _json(200, {"status": "ok"})


async def readyz(request: web.Request) -> web.Response:
    """Whether a load balancer should send clients here, and if not, why."""
    readiness = await request.app[READINESS]()
    return _json(200 if readiness["status"] in _READY else 503, readiness)


async def metrics(request: web.Request) -> web.Response:
    """Prometheus's text format."""
    return web.Response(body=await request.app[METRICS](), headers={"Content-Type": CONTENT_TYPE_LATEST})


async def own_metrics() -> bytes:
    """The figures of this process."""
    return generate_latest()


async def _passes(check: Check) -> bool:
    try:
        return await check()
    except Exception:
        # Whatever it is, the thing that was checked is not well; the others are still reported.
        log.exception("a health check failed by itself")
        return False


def _json(status: int, body: Mapping[str, str]) -> web.Response:
    return web.Response(status=status, body=orjson.dumps(body), content_type="application/json")


ROUTES = (
    Route("GET", "/livez", livez, allows_head=True),
    Route("GET", "/readyz", readyz, allows_head=True),
    Route("GET", "/metrics", metrics, allows_head=True),
)
