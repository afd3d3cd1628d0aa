"""What one process measures: latencies second by second, and failures by kind."""

import time
from collections import Counter
from dataclasses import dataclass, field

from obscura.bench.histogram import Latencies

now = time.monotonic  # one clock for all processes of a machine


@dataclass(frozen=True, slots=True)
class Interval:
    """What happened in one second; ``latencies`` holds an encoded histogram for each operation."""

    second: int
    latencies: dict[str, bytes]
    errors: dict[str, int]


@dataclass(frozen=True, slots=True)
class Window:
    """When load runs, and from when on it is measured; in seconds of `now`."""

    start: float
    measured_from: float
    until: float


@dataclass
class Recorder:
    """An operation counts if it started, or was to start, inside the window, whenever it ends."""

    window: Window = field(default_factory=lambda: Window(0, 0, 0))
    last_end: float = 0.0  # of an operation that counted
    _latencies: dict[str, Latencies] = field(default_factory=dict)
    _errors: Counter[str] = field(default_factory=Counter)

    def completed(self, operation: str, started: float) -> None:
        ended = now()
        if not self.window.measured_from <= started < self.window.until:
            return
        latencies = self._latencies.get(operation)
        if latencies is None:
            latencies = self._latencies[operation] = Latencies()
        latencies.record(ended - started)
        self.last_end = ended

    def failed(self, kind: str) -> None:
        """Counts at any time: a failure outside of the window is one too."""
        self._errors[kind] += 1

    def take(self) -> Interval:
        """What was counted since the last call."""
        latencies = {name: one.encode() for name, one in self._latencies.items()}
        interval = Interval(max(0, round(now() - self.window.measured_from) - 1), latencies, dict(self._errors))
        self._latencies.clear()
        self._errors.clear()
        return interval
