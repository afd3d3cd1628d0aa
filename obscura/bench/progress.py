"""The line that moves while a bench runs, on a terminal only."""

import sys
from typing import TextIO

from obscura.bench.recorder import now
from obscura.bench.result import Result

_CLEAR = "\r\033[K"


class Progress:
    """Shows a run on standard error, where it does not mix with the results."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._is_shown = self._stream.isatty()
        self._started = now()

    def show(self, result: Result) -> None:
        if self._is_shown:
            self._stream.write(f"{_CLEAR}{line(result, now() - self._started)}")
            self._stream.flush()

    def clear(self) -> None:
        if self._is_shown:
            self._stream.write(_CLEAR)
            self._stream.flush()


def line(result: Result, elapsed_secs: float) -> str:
    """The last second of a run in a line."""
    text = f"{result.scenario}  {elapsed_secs:.0f} s"
    if not result.timeline.seconds:
        return f"{text}  preparing"
    operation = result.operations[0]
    latencies = result.timeline.seconds[max(result.timeline.seconds)].get(operation)
    if latencies is not None:
        summary = latencies.summary_ms()
        text += f"  {latencies.count:,} {operation}/s  p50 {summary['p50']:.1f} ms  p99 {summary['p99']:.1f} ms"
    return f"{text}  errors {result.timeline.errors.total():,}"
