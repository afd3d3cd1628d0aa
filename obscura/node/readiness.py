"""Whether clients should be sent to a process, and if not, why: what /readyz answers."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping

log = logging.getLogger(__name__)

Check = Callable[[], Awaitable[bool]]

# Messaging goes on without attachments, and by Redis's clock where the machine's is wrong.
_MAY_FAIL = frozenset({"storage", "clock"})


class Readiness:
    """Whether clients should be sent to this process, and if not, why.

    Args:
        checks: By the name of the part that each looks at. One that raises counts as failed.
        is_draining: Whether the process is about to stop.
    """

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


async def _passes(check: Check) -> bool:
    try:
        return await check()
    except Exception:
        # Whatever it is, the thing that was checked is not well; the others are still reported.
        log.exception("a health check failed by itself")
        return False
