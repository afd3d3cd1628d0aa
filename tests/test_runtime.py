"""What every process does alike: here, that a node runs until a signal."""

import asyncio
import os
import signal
from contextlib import suppress

import pytest

from obscura.runtime import run_until_signalled
from tests.support.waiting import eventually


class Sleeper:
    """Takes its time to start. With ``is_deaf`` it loses a cancellation meanwhile, as asyncio.wait_for may."""

    def __init__(self, *, is_deaf: bool = False) -> None:
        self.is_deaf = is_deaf
        self.starting, self.may_start, self.stopped = asyncio.Event(), asyncio.Event(), False

    async def start(self) -> None:
        self.starting.set()
        with suppress(*([asyncio.CancelledError] if self.is_deaf else [])):
            await self.may_start.wait()

    async def stop(self) -> None:
        self.stopped = True


@pytest.fixture(params=[signal.SIGINT, signal.SIGTERM])
def number(request: pytest.FixtureRequest) -> signal.Signals:
    number: signal.Signals = request.param
    return number


@pytest.mark.parametrize("is_deaf", [False, True])
async def test_a_signal_while_it_starts_ends_it(number: signal.Signals, *, is_deaf: bool) -> None:
    """Also if the start goes on regardless."""
    server = Sleeper(is_deaf=is_deaf)
    running = asyncio.create_task(run_until_signalled(server, lambda: None))
    await server.starting.wait()
    os.kill(os.getpid(), number)
    await eventually(running.done)
    assert server.stopped


async def test_a_signal_after_its_start_ends_it(number: signal.Signals) -> None:
    """Not before: it serves until then."""
    server, serving = Sleeper(), asyncio.Event()
    server.may_start.set()
    running = asyncio.create_task(run_until_signalled(server, serving.set))
    await serving.wait()
    assert not running.done()
    os.kill(os.getpid(), number)
    await eventually(running.done)
    assert server.stopped
