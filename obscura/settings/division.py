"""How a number of the node becomes the numbers of its worker processes."""

import os
from enum import StrEnum


class Division(StrEnum):
    """What becomes of a setting that says what the whole node may admit or use."""

    COUNT = "count"
    """Whole parts that add up to the setting. Each is at least 1, so there may be no more workers than it says."""

    RATE = "rate"
    """Equal parts, which may be fractional."""

    THREADS = "threads"
    """Whole parts, at least 1 each, of as many threads as the setting or the machine says."""


def default_threads() -> int:
    """One less than cores, for the event loop has one; at least 1."""
    return max(1, (os.cpu_count() or 2) - 1)


def part_of(whole: float, division: Division, worker: int, workers: int) -> float:
    """Return the part of one worker, counted from 1. Without a rest: of a count the first workers get one more."""
    match division:
        case Division.COUNT:
            return whole // workers + (worker <= whole % workers)
        case Division.RATE:
            return whole / workers
        case Division.THREADS:
            return max(1, (whole or default_threads()) // workers)
