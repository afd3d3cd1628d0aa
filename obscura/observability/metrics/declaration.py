"""What a metric is declared with: all that /metrics shows of it, and what docs/metrics.md tells an operator."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

from prometheus_client import Counter, Gauge, disable_created_metrics

from obscura.observability.fast_metrics import Histogram, Requests

disable_created_metrics()  # type: ignore[no-untyped-call]  # they double what is scraped, and nothing draws them

LabelValues = Mapping[str, Sequence[str]]
"""The labels of a metric with all that each can be. An empty list of values: each appears when it is first used."""

_NO_LABELS: LabelValues = {}


@dataclass(frozen=True, slots=True)
class Description:
    """A metric as docs/metrics.md has it.

    Attributes:
        name: As /metrics has it, with the ``_total`` of a counter.
        kind: ``counter``, ``gauge`` or ``histogram``.
        help: What it counts or measures: the text that /metrics shows.
        detail: What the help leaves out.
        watch: When it should worry an operator, and what to do then.
    """

    name: str
    kind: str
    help: str
    labels: LabelValues
    detail: str
    watch: str


class Topic:
    """A section of docs/metrics.md. Each call declares one metric of it and makes that metric."""

    def __init__(self, title: str, introduction: str = "") -> None:
        self.title = title
        self.introduction = introduction
        self.metrics: list[Description] = []

    def counter(
        self, name: str, text: str, labels: LabelValues = _NO_LABELS, *, detail: str = "", watch: str = ""
    ) -> Counter:
        """Declare a counter. Every series with listed values is there from the start, so that its first rise is seen.

        Args:
            name: Without ``_total``, which /metrics adds.
        """
        self.metrics.append(Description(f"{name}_total", "counter", text, labels, detail, watch))
        counter = Counter(name, text, tuple(labels))
        if labels:
            for combination in product(*labels.values()):
                counter.labels(*combination)
        return counter

    def gauge(
        self, name: str, text: str, labels: LabelValues = _NO_LABELS, *, detail: str = "", watch: str = ""
    ) -> Gauge:
        """Declare a gauge: a figure that rises and falls."""
        self.metrics.append(Description(name, "gauge", text, labels, detail, watch))
        return Gauge(name, text, tuple(labels))

    def histogram(
        self,
        name: str,
        text: str,
        bounds: Sequence[float],
        labels: LabelValues = _NO_LABELS,
        *,
        detail: str = "",
        watch: str = "",
    ) -> Histogram:
        """Declare a histogram of times in seconds, for the event loop alone.

        Args:
            bounds: Upper ends of its buckets, rising.
        """
        self.metrics.append(Description(name, "histogram", text, labels, detail, watch))
        return Histogram(name, text, tuple(labels), bounds)

    def requests(self, counter: str, histogram: str, bounds: Sequence[float], *, watch: tuple[str, str]) -> Requests:
        """Declare the two metrics that are counted in one step for every request.

        Args:
            watch: What worries of the counter, and of the histogram.
        """
        counter_labels: LabelValues = dict.fromkeys(Requests.COUNTER_LABELS, ())
        histogram_labels: LabelValues = dict.fromkeys(Requests.HISTOGRAM_LABELS, ())
        self.metrics += [
            Description(
                f"{counter}_total", "counter", Requests.COUNTER_HELP, counter_labels, Requests.COUNTER_DETAIL, watch[0]
            ),
            Description(
                histogram, "histogram", Requests.HISTOGRAM_HELP, histogram_labels, Requests.HISTOGRAM_DETAIL, watch[1]
            ),
        ]
        return Requests(counter, histogram, bounds)
