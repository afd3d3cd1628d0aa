"""Runs `obscura bench` and reads what it found."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

Found = dict[str, Any]

_STOP_SECS = 20.0


def bench(scenario: str, *options: object) -> Found:
    """One run of one scenario. Fails if an answer was wrong or a message is not accounted for."""
    found = attempt(scenario, *options)
    if not found["ok"]:
        raise RuntimeError(f"{scenario} failed: {found['errors']} {found['messages']}")
    return found


def attempt(scenario: str, *options: object) -> Found:
    """One run of one scenario, whatever came of it. Fails if there is nothing to tell."""
    done = subprocess.run(_command(scenario, options), stdout=subprocess.PIPE, text=True, check=False)  # noqa: S603
    if not done.stdout:
        raise RuntimeError(f"{scenario} could not be run")
    return dict(json.loads(done.stdout)["results"][0])


@contextmanager
def in_background(scenario: str, *options: object) -> Iterator[None]:
    """A scenario that runs for the length of the block, and is ended with it."""
    nothing = subprocess.DEVNULL
    process = subprocess.Popen(_command(scenario, options), stdout=nothing, stderr=nothing)  # noqa: S603
    try:
        yield
        if process.poll() is not None:
            raise RuntimeError(f"{scenario} ended while it was needed")
    finally:
        process.terminate()
        process.wait(_STOP_SECS)


def _command(scenario: str, options: tuple[object, ...]) -> list[str]:
    return [sys.executable, "-m", "obscura", "bench", scenario, *map(str, options), "--json", "-"]


def cpu_us_per_message(found: Found, which: int = 0) -> float:
    """Processor time of a watched server process for each message sent, in microseconds."""
    return float(found["servers"][which]["cpu_secs"]) / int(found["messages"]["sent"]) * 1e6
