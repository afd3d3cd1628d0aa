"""Many sockets closed gradually, over a time.

Clients that are told to go all at once come back all at once, and storm the nodes that are
left: those whose backoff has no jitter in step. Spread, they arrive at an even rate.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from uuid import UUID

from obscura.gateway.close_codes import GOING_AWAY
from obscura.gateway.hub import Listener

_ACKS_TIMEOUT_SECS = 1.0  # how long a close waits for a Redis that hangs


async def close_gradually(
    listeners: Sequence[Listener], flush_acks: Callable[[UUID], Awaitable[object]], secs: float
) -> None:
    """Close sockets in random order, each at a random moment of its even share of ``secs``, and return after it.

    Each is served until its turn. What it acked until then is written first: a client that is
    told to leave may be at another node in no time, and would get it again.
    """
    begin = asyncio.get_running_loop().time()
    order = random.sample(listeners, len(listeners))
    async with asyncio.TaskGroup() as closing:
        for place, listener in enumerate(order):
            await _sleep_until(begin + secs * (place + random.random()) / len(order))  # noqa: S311  not a secret
            closing.create_task(_close_one(listener, flush_acks))
        await _sleep_until(begin + secs)


async def _close_one(listener: Listener, flush_acks: Callable[[UUID], Awaitable[object]]) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(_ACKS_TIMEOUT_SECS):
            await flush_acks(listener.address_id)
    listener.close(GOING_AWAY)


async def _sleep_until(moment: float) -> None:
    await asyncio.sleep(max(0.0, moment - asyncio.get_running_loop().time()))
