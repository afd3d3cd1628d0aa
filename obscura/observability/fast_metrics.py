"""Histograms for paths that are taken ten thousand times a second.

prometheus_client's own take a lock and walk their buckets: more than a microsecond for
each time. These are numbers of the event loop, to be changed and read by it alone, at
a quarter of that, and exact all the same. Prometheus cannot tell them apart.
"""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import accumulate
from time import perf_counter

from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.metrics_core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.utils import floatToGoString

_SWITCHED = 101  # a socket's request ends with the socket: its time is no time of an answer


class Series:
    """The times of one set of label values."""

    __slots__ = ("_bounds", "_counts", "_sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def observe(self, seconds: float) -> None:
        """Count one more."""
        self._counts[bisect_left(self._bounds, seconds)] += 1
        self._sum += seconds

    def add_to(self, family: HistogramMetricFamily, labels: Sequence[str]) -> None:
        """Write what was counted, the way Prometheus wants it: each bucket with all below it."""
        bounds = [*map(floatToGoString, self._bounds), "+Inf"]
        buckets = list(zip(bounds, accumulate(self._counts), strict=True))
        family.add_metric(labels, buckets, self._sum)


class Histogram:
    """A metric of times, in seconds, for the event loop alone.

    Args:
        labels: Their names.
        bounds: Upper ends of the buckets, rising; one more is for what lies beyond.
    """

    def __init__(
        self,
        name: str,
        documentation: str,
        labels: Sequence[str],
        bounds: Sequence[float],
        registry: CollectorRegistry = REGISTRY,
    ) -> None:
        self._name = name
        self._documentation = documentation
        self._labels = tuple(labels)
        self._bounds = tuple(bounds)
        self._series: dict[tuple[str, ...], Series] = {}
        if not labels:
            self.of()
        registry.register(self)

    def of(self, *values: str) -> Series:
        """What counts for these label values: to be kept where it is used more than once."""
        series = self._series.get(values)
        if series is None:
            assert len(values) == len(self._labels)
            series = self._series[values] = Series(self._bounds)
        return series

    def describe(self) -> Iterator[Metric]:
        """The metric without its figures; prometheus_client asks for it once."""
        yield self._family()

    def collect(self) -> Iterator[Metric]:
        """The metric as of now; prometheus_client asks for it at every scrape."""
        family = self._family()
        for values, series in self._series.items():
            series.add_to(family, values)
        yield family

    def _family(self) -> HistogramMetricFamily:
        return HistogramMetricFamily(self._name, self._documentation, labels=self._labels)


class _Answers:
    """What was answered to the requests of one method and route."""

    __slots__ = ("by_status", "times")

    def __init__(self, times: Series) -> None:
        self.times = times
        self.by_status: dict[int, int] = {}


class Requests:
    """Two metrics that are counted in one step: requests by their answer, and the time it took.

    Args:
        counter: Name of the first, without its ``_total``.
        histogram: Name of the second.
    """

    def __init__(
        self, counter: str, histogram: str, bounds: Sequence[float], registry: CollectorRegistry = REGISTRY
    ) -> None:
        self._counter = counter
        self._times = Histogram(
            histogram, "Seconds until an HTTP request was answered.", ["method", "route"], bounds, registry
        )
        self._answers: dict[tuple[str, str], _Answers] = {}
        registry.register(self)

    def record(self, method: str, route: str, status: int, started: float) -> None:
        """Count an answer.

        Args:
            method: One of a fixed list.
            route: A template, not a path.
            started: What `time.perf_counter` said when the request came.
        """
        answers = self._answers.get((method, route))
        if answers is None:
            answers = self._answers[method, route] = _Answers(self._times.of(method, route))
        by_status = answers.by_status
        by_status[status] = by_status.get(status, 0) + 1
        if status != _SWITCHED:
            answers.times.observe(perf_counter() - started)

    def describe(self) -> Iterator[Metric]:
        """The counter without its figures."""
        yield self._family()

    def collect(self) -> Iterator[Metric]:
        """The counter as of now."""
        family = self._family()
        for (method, route), answers in self._answers.items():
            for status, count in answers.by_status.items():
                family.add_metric((method, route, str(status)), count)
        yield family

    def _family(self) -> CounterMetricFamily:
        return CounterMetricFamily(self._counter, "HTTP requests answered.", labels=("method", "route", "status"))
