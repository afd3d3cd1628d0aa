"""Histograms for paths that are taken ten thousand times a second.

Those of prometheus_client take a lock and walk their buckets, which costs more than a
microsecond for each observation. These cost a quarter of that, because only the event
loop may change and read them. They are just as exact: Prometheus reads the same text.
"""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from itertools import accumulate
from time import perf_counter

from prometheus_client import REGISTRY, CollectorRegistry
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric

_SWITCHING_PROTOCOLS = 101  # RFC 9110 section 15.2.2


class Series:
    """The times observed for one set of label values."""

    __slots__ = ("_bounds", "_counts", "_sum")

    def __init__(self, bounds: Sequence[float]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._sum = 0.0

    def observe(self, seconds: float) -> None:
        """Count one more time. It costs some 200 ns."""
        self._counts[bisect_left(self._bounds, seconds)] += 1
        self._sum += seconds

    def add_to(self, family: HistogramMetricFamily, labels: Sequence[str]) -> None:
        """Write what was counted as Prometheus reads it: the count of a bucket includes all buckets below it."""
        bounds = [*(str(float(bound)) for bound in self._bounds), "+Inf"]
        buckets = list(zip(bounds, accumulate(self._counts), strict=True))
        family.add_metric(labels, buckets, self._sum)


class Histogram:
    """A metric of times, in seconds, for the event loop alone.

    Without labels its one series is there from the start, at zero.

    Args:
        label_names: Names alone; their values come with `labels`.
        bounds: Upper ends of the buckets, rising, each below a million. One more bucket takes what lies beyond.
    """

    def __init__(
        self,
        name: str,
        documentation: str,
        label_names: Sequence[str],
        bounds: Sequence[float],
        registry: CollectorRegistry = REGISTRY,
    ) -> None:
        self._name = name
        self._documentation = documentation
        self._label_names = tuple(label_names)
        self._bounds = tuple(bounds)
        self._series: dict[tuple[str, ...], Series] = {}
        if not label_names:
            self.labels()
        registry.register(self)

    def labels(self, *values: str) -> Series:
        """Return the series of these label values, made at the first call. Keep it where it is used often."""
        series = self._series.get(values)
        if series is None:
            assert len(values) == len(self._label_names)
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
        return HistogramMetricFamily(self._name, self._documentation, labels=self._label_names)


class _RouteSeries:
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
        bounds: Of the second, as for `Histogram`.
    """

    COUNTER_HELP = "HTTP requests answered."
    COUNTER_DETAIL = "A socket counts as 101 when it ends."
    COUNTER_LABELS = ("method", "route", "status")
    HISTOGRAM_HELP = "Seconds until an HTTP request was answered."
    HISTOGRAM_DETAIL = "Uploads and downloads count with their bytes, sockets not at all."
    HISTOGRAM_LABELS = ("method", "route")

    def __init__(
        self, counter: str, histogram: str, bounds: Sequence[float], registry: CollectorRegistry = REGISTRY
    ) -> None:
        self._counter = counter
        self._times = Histogram(histogram, self.HISTOGRAM_HELP, self.HISTOGRAM_LABELS, bounds, registry)
        self._routes: dict[tuple[str, str], _RouteSeries] = {}
        registry.register(self)

    def record(self, method: str, route: str, status: int, started: float) -> None:
        """Count one answer. The time of a 101 is left out: a socket's request ends with the socket.

        Args:
            method: One of a fixed list.
            route: A template, not a path.
            started: What `time.perf_counter` said when the request came.
        """
        series = self._routes.get((method, route))
        if series is None:
            series = self._routes[method, route] = _RouteSeries(self._times.labels(method, route))
        by_status = series.by_status
        by_status[status] = by_status.get(status, 0) + 1
        if status != _SWITCHING_PROTOCOLS:
            series.times.observe(perf_counter() - started)

    def describe(self) -> Iterator[Metric]:
        """The counter without its figures."""
        yield self._family()

    def collect(self) -> Iterator[Metric]:
        """The counter as of now."""
        family = self._family()
        for (method, route), series in self._routes.items():
            for status, count in series.by_status.items():
                family.add_metric((method, route, str(status)), count)
        yield family

    def _family(self) -> CounterMetricFamily:
        return CounterMetricFamily(self._counter, self.COUNTER_HELP, labels=self.COUNTER_LABELS)
