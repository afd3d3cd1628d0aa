"""When operations start."""

import pytest

from obscura.bench.options import parse
from obscura.bench.recorder import Window, now
from obscura.bench.scenario_context import Schedule


async def test_an_open_loop_keeps_its_appointments() -> None:
    """Who comes late gets a moment that has passed; none lies outside of the window."""
    start = now() - 1
    schedule = Schedule(parse(["--rate", "10"]), Window(start, start, start + 1))
    starts = [await schedule.next_start() for _ in range(11)]
    assert starts[:10] == pytest.approx([start + step / 10 for step in range(10)])
    assert starts[10] >= start + 1
