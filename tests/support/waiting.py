"""Waiting for a condition, with a deadline, instead of sleeping and hoping."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from typing import TypeVar

DEADLINE_SECS = 15.0
_POLL_SECS = 0.01

T = TypeVar("T")


async def eventually(probe: Callable[[], T | Awaitable[T]], deadline_secs: float = DEADLINE_SECS) -> T:
    """Ask ``probe`` until its answer is true, and return it; fails with the last answer at the deadline."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + deadline_secs
    while True:
        answer = probe()
        if inspect.isawaitable(answer):
            answer = await answer
        if answer:
            return answer
        assert loop.time() < deadline, f"still {answer!r} after {deadline_secs} s"
        await asyncio.sleep(_POLL_SECS)
