"""Whether clients should be sent to a process, and if not, why: what /readyz answers."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Trouble:
    """What is wrong with a part.

    Attributes:
        reason: One sentence for an operator; without hosts, keys and values.
        may_serve: Clients are better off here than nowhere.
    """

    reason: str = ""
    may_serve: bool = False


Check = Callable[[], Awaitable[bool | Trouble]]

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
        outcomes = await asyncio.gather(*(_outcome_of(check) for check in self._checks.values()))
        found = dict(zip(self._checks, outcomes, strict=True))
        results = {name: "ok" if trouble is None else "error" for name, trouble in found.items()}
        tolerated = {name for name, trouble in found.items() if trouble is not None and trouble.may_serve}
        status = "draining" if self._is_draining() else status_of(results, tolerated)
        reasons = [trouble.reason for trouble in found.values() if trouble is not None and trouble.reason]
        return {"status": status, **results, **({"reason": "; ".join(reasons)} if reasons else {})}


def status_of(results: Mapping[str, str], tolerated: Collection[str] = ()) -> str:
    """What the results of the parts make of the whole: ok, degraded or error.

    Args:
        tolerated: Parts that do not make the whole an error this time.
    """
    failed = {name for name, result in results.items() if result != "ok"}
    if failed - _MAY_FAIL - set(tolerated):
        return "error"
    return "degraded" if failed else "ok"


async def _outcome_of(check: Check) -> Trouble | None:
    try:
        outcome = await check()
    except Exception:
        # Whatever it is, the thing that was checked is not well; the others are still reported.
        log.exception("a health check failed by itself")
        return Trouble()
    if isinstance(outcome, Trouble):
        return outcome
    return None if outcome else Trouble()
