"""The metrics of several processes as those of one node.

Counters, histograms and summaries add up, and never go back: what a process had counted
before it died is kept. Gauges add up too, as sockets and waiting jobs do, but for those
of which a sum says nothing (see `_GAUGE_AGGREGATIONS`). The dead have none.

Each worker counts in its own memory and is asked when somebody scrapes. prometheus_client's
own way, files that all processes share, would cost every count of every request a lock
and a write to a mapped file, and has no figures of the process itself.
"""

from collections.abc import Callable, Iterable, Iterator
from operator import add

from prometheus_client import Metric, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

Aggregation = Callable[[float, float], float]
Labels = tuple[tuple[str, str], ...]
Figures = dict[tuple[str, str, Labels], float]
"""Values by family, sample and labels."""

_ACCUMULATED = frozenset({"counter", "histogram", "summary"})

# How gauges that are not added become one, by the end of their name; the first that fits counts.
_GAUGE_AGGREGATIONS: tuple[tuple[str, Aggregation], ...] = (
    ("_info", max),  # always 1: it says what runs, not how many
    ("_created", min),  # a time: since when the node has counted
    ("_start_time_seconds", min),  # likewise
    ("_max_fds", max),  # a limit that each process has for itself, the same for all
    ("_open_fds", max),  # to compare with it: of the process that is nearest
    ("_connected", min),  # all of them, or the node is not
    ("_ready", min),  # likewise
    ("_differ", max),  # likewise
    ("_unmet", max),  # what one of them found is so
    ("_ratio", max),  # a share of what they have in common
    ("_seconds", max),  # an age or a delay: the worst of them
)


class MetricsAggregator:
    """Adds up what the processes of a node said last, and what those that are gone had counted."""

    def __init__(self) -> None:
        self._families: dict[str, tuple[str, str]] = {}  # type and documentation by name
        self._current: dict[int, Figures] = {}
        self._of_the_gone: Figures = {}

    def update(self, process: int, text: str) -> None:
        """Take what a process says now, in Prometheus's text format, in place of what it said before."""
        figures: Figures = {}
        for family in text_string_to_metric_families(text):
            self._families.setdefault(family.name, (family.type, family.documentation))
            for sample in family.samples:
                figures[family.name, sample.name, tuple(sorted(sample.labels.items()))] = sample.value
        self._current[process] = figures

    def remove_process(self, process: int) -> None:
        """Keep what a process that has ended had counted, and forget its gauges. Does nothing for an unknown one."""
        for key, value in self._current.pop(process, {}).items():
            if self._families[key[0]][0] in _ACCUMULATED:
                self._of_the_gone[key] = self._of_the_gone.get(key, 0.0) + value

    def text(self) -> bytes:
        """All of it in Prometheus's text format."""
        return generate_latest(_Merged(self._metrics()))

    def _metrics(self) -> Iterator[Metric]:
        merged = dict(self._of_the_gone)
        for figures in self._current.values():
            for key, value in figures.items():
                merged[key] = self._aggregation_of(key[0])(merged[key], value) if key in merged else value
        by_family: dict[str, Metric] = {}
        for (name, sample, labels), value in merged.items():
            if name not in by_family:
                kind, documentation = self._families[name]
                by_family[name] = Metric(name, documentation, kind)
            by_family[name].add_sample(sample, dict(labels), value)
        return iter(by_family.values())

    def _aggregation_of(self, family: str) -> Aggregation:
        if self._families[family][0] not in _ACCUMULATED:
            for suffix, aggregation in _GAUGE_AGGREGATIONS:
                if family.endswith(suffix):
                    return aggregation
        return add


class _Merged(Collector):
    def __init__(self, metrics: Iterable[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> Iterable[Metric]:
        return self._metrics


def without_gauges(text: str) -> str:
    """Leave our own gauges out of a process's metrics: one that serves nobody would only report zeros."""
    ours = [
        family
        for family in text_string_to_metric_families(text)
        if family.type in _ACCUMULATED or not family.name.startswith("obscura_")
    ]
    return generate_latest(_Merged(ours)).decode()
