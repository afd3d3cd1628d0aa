"""Tasks awaited together, ended, and tried again after growing pauses."""

import asyncio
import time

import pytest

from obscura.tasks import Backoff, end_tasks, gather_all


async def test_the_first_error_is_raised_when_all_have_ended() -> None:
    """Nothing is left running behind the caller."""
    ended: list[str] = []

    async def work(name: str, turns: int, error: Exception | None = None) -> None:
        for _ in range(turns):
            await asyncio.sleep(0)
        ended.append(name)
        if error:
            raise error

    with pytest.raises(ValueError, match="first"):
        await gather_all([work("a", 5, ValueError("first")), work("b", 1, KeyError("second")), work("c", 20)])
    assert ended == ["b", "a", "c"]


async def test_tasks_have_ended_when_that_is_said() -> None:
    """Those that take their time to clean up, too; None and what has ended are fine, and so is a repeat."""
    steps: list[str] = []

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0.01)
            steps.append("cleaned up")

    tasks = [asyncio.create_task(work()) for _ in range(2)]
    await asyncio.sleep(0)
    for _ in range(2):
        await end_tasks(*tasks, None)
        assert steps == ["cleaned up"] * 2
    assert all(task.cancelled() for task in tasks)


async def test_a_lost_cancellation_is_made_up_for() -> None:
    """A library that swallows one is cancelled again."""
    cancelled = 0

    async def swallow() -> None:
        nonlocal cancelled
        while cancelled < 2:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                cancelled += 1

    task = asyncio.create_task(swallow())
    await asyncio.sleep(0)
    await end_tasks(task)
    assert cancelled == 2


async def test_what_a_task_failed_with_is_not_raised() -> None:
    """It is of no interest any more when the task is ended."""

    async def fail() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            raise ValueError

    task = asyncio.create_task(fail())
    await asyncio.sleep(0)
    await end_tasks(task)
    assert isinstance(task.exception(), ValueError)


async def test_pauses_grow_up_to_a_limit_and_begin_anew_after_a_success(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is between half of its nominal length and all of it."""
    pauses: list[float] = []

    async def note(secs: float) -> None:
        pauses.append(secs)

    monkeypatch.setattr(asyncio, "sleep", note)
    backoff = Backoff(max_secs=0.3)
    for _ in range(6):
        await backoff.pause()
    backoff.reset()
    await backoff.pause()
    nominal = [0.05, 0.1, 0.2, 0.3, 0.3, 0.3, 0.05]
    assert all(secs / 2 <= pause <= secs for pause, secs in zip(pauses, nominal, strict=True))


async def test_a_pause_takes_its_time() -> None:
    """It is slept, not only counted."""
    started = time.monotonic()
    await Backoff().pause()
    assert time.monotonic() - started >= 0.02
