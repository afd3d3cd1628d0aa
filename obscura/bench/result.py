"""What a run found, put together from all its processes."""

from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any

from obscura.bench.histogram import Latencies
from obscura.bench.message_tracker import MessageCounts
from obscura.bench.recorder import Interval, Window
from obscura.bench.server_process import Usage
from obscura.bench.worker import Done, Measured

BUSY_SHARE = 0.85  # of a core: from there on the generator itself may be what is measured


class Timeline:
    """The latencies of all processes, second by second and altogether."""

    def __init__(self) -> None:
        self.seconds: dict[int, dict[str, Latencies]] = {}
        self.total: dict[str, Latencies] = {}
        self.errors: Counter[str] = Counter()

    def add(self, interval: Interval) -> None:
        self.errors.update(interval.errors)
        second = self.seconds.setdefault(interval.second, {}) if interval.latencies else {}
        for operation, encoded in interval.latencies.items():
            second.setdefault(operation, Latencies()).add(encoded)
            self.total.setdefault(operation, Latencies()).add(encoded)


@dataclass(frozen=True, slots=True)
class WatchedProcess:
    """A server process before and after the load; ``cpu_share`` is of one core."""

    pid: int
    rss_before_kib: int
    rss_after_kib: int
    cpu_share: float
    cpu_secs: float


@dataclass
class Result:
    """One scenario's run."""

    scenario: str
    operations: tuple[str, ...]
    options: dict[str, Any]
    pinned_to: str | None
    timeline: Timeline = field(default_factory=Timeline)
    counts: MessageCounts | None = None
    duration_secs: float = 0.0
    cpu_shares: list[float] = field(default_factory=list)
    sent_bytes: int = 0
    received_bytes: int = 0
    servers: list[WatchedProcess] = field(default_factory=list)

    def measured(self, window: Window, reports: list[Measured]) -> None:
        """Take what the processes said at the end of the load."""
        for report in reports:
            self.timeline.add(report.interval)
            self.cpu_shares.append(round(report.cpu_share, 3))
            self.sent_bytes += report.sent_bytes
            self.received_bytes += report.received_bytes
        ends = [report.last_end for report in reports]
        if window.until != float("inf"):
            ends.append(window.until)
        self.duration_secs = max(*ends, window.measured_from) - window.measured_from

    def watched(self, before: dict[int, Usage], after: dict[int, Usage], seconds: float) -> None:
        """Take what the server processes used from the start of the load to its end."""
        for pid, was in before.items():
            cpu_secs = after[pid].cpu_secs - was.cpu_secs
            share = round(cpu_secs / seconds, 3)
            self.servers.append(WatchedProcess(pid, was.rss_kib, after[pid].rss_kib, share, round(cpu_secs, 3)))

    def done(self, reports: list[Done]) -> None:
        """Take the last words of the processes: the balance of their messages."""
        for report in reports:
            self.timeline.add(report.interval)
            if report.counts is not None:
                self.counts = self.counts or MessageCounts()
                self.counts.add(report.counts)

    @property
    def per_second(self) -> float:
        """Throughput: how often the first of the operations was completed, each second."""
        return self.rate(self.operations[0])

    def rate(self, operation: str) -> float:
        latencies = self.timeline.total.get(operation)
        return latencies.count / self.duration_secs if latencies and self.duration_secs else 0.0

    @property
    def ok(self) -> bool:
        """Whether something was measured, every answer was right and every message accounted for."""
        balanced = self.counts is None or self.counts.is_balanced
        return balanced and not self.timeline.errors and self.per_second > 0

    @property
    def generator_was_busy(self) -> bool:
        return max(self.cpu_shares, default=0) > BUSY_SHARE

    def as_json(self) -> dict[str, Any]:
        """Plain values: latencies in milliseconds, sizes in bytes, shares of one core."""
        return {
            "scenario": self.scenario,
            "ok": self.ok,
            "options": self.options,
            "duration_secs": round(self.duration_secs, 3),
            "per_second": round(self.per_second, 1),
            "operations": {
                name: {"count": latencies.count, "per_second": round(self.rate(name), 1)}
                | {"latency_ms": latencies.summary_ms()}
                for name, latencies in self.timeline.total.items()
            },
            "messages": None if self.counts is None else asdict(self.counts),
            "errors": dict(self.timeline.errors),
            "bytes": {"sent": self.sent_bytes, "received": self.received_bytes},
            "generator": {"cpu_shares": self.cpu_shares, "pinned_to": self.pinned_to},
            "servers": [asdict(server) for server in self.servers],
            "timeline": [
                {"second": second, "operations": {name: _point(latencies) for name, latencies in operations.items()}}
                for second, operations in sorted(self.timeline.seconds.items())
            ],
        }


def _point(latencies: Latencies) -> dict[str, Any]:
    return {"count": latencies.count, "latency_ms": latencies.summary_ms()}
