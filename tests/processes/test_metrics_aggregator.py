"""The figures of several processes as those of one node."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from obscura.processes.metrics_aggregator import MetricsAggregator, without_gauges


class Process:
    """Figures as a process has them."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.sent = Counter("obscura_sent", "Sent.", ["kind"], registry=self.registry)
        self.took = Histogram("obscura_took_seconds", "How long.", buckets=[1, 2], registry=self.registry)
        self.sockets = Gauge("obscura_sockets", "Open.", registry=self.registry)

    def gauge(self, name: str, value: float) -> None:
        Gauge(name, "A gauge.", registry=self.registry).set(value)

    @property
    def text(self) -> str:
        return generate_latest(self.registry).decode()


def samples(text: bytes | str) -> dict[str, float]:
    """The values by name, with the labels' values behind it."""
    families = text_string_to_metric_families(text if isinstance(text, str) else text.decode())
    return {" ".join([one.name, *one.labels.values()]): one.value for family in families for one in family.samples}


def merged(*processes: Process) -> dict[str, float]:
    metrics = MetricsAggregator()
    for number, process in enumerate(processes):
        metrics.update(number, process.text)
    return samples(metrics.text())


def test_what_is_counted_adds_up() -> None:
    """Counters label by label, histograms bucket by bucket; what only one has is there too."""
    one, other = Process(), Process()
    one.sent.labels("a").inc(2)
    other.sent.labels("a").inc(3)
    other.sent.labels("b").inc(4)
    one.took.observe(0.5)
    other.took.observe(1.5)
    figures = merged(one, other)
    assert (figures["obscura_sent_total a"], figures["obscura_sent_total b"]) == (5, 4)
    assert [figures[f"obscura_took_seconds_bucket {bound}"] for bound in ("1.0", "2.0", "+Inf")] == [1, 2, 2]
    assert (figures["obscura_took_seconds_sum"], figures["obscura_took_seconds_count"]) == (2.0, 2)


def test_what_is_open_adds_up() -> None:
    """Sockets of a node are those of its processes."""
    one, other = Process(), Process()
    one.sockets.set(2)
    other.sockets.set(3)
    assert merged(one, other)["obscura_sockets"] == 5


def test_gauges_that_are_no_amounts_are_not_added() -> None:
    """A version is one, an age or a share the worst, a connection all or nothing, a start the first.

    The limit of open files is each process's own, so it is compared with the files of one.
    """
    one, other = Process(), Process()
    for process, value in ((one, 1), (other, 7)):
        process.gauge("obscura_silence_seconds", value)
        process.gauge("obscura_redis_connected", value - 1)
        process.gauge("obscura_ready", value - 1)
        process.gauge("obscura_used_ratio", value)
        process.gauge("process_start_time_seconds", value)
        process.gauge("process_max_fds", value)
        process.gauge("process_open_fds", value)
        process.gauge("obscura_build_info", 1)
    figures = merged(one, other)
    assert (figures["obscura_silence_seconds"], figures["obscura_redis_connected"]) == (7, 0)
    assert (figures["obscura_ready"], figures["obscura_used_ratio"]) == (0, 7)
    assert (figures["process_start_time_seconds"], figures["process_max_fds"], figures["process_open_fds"]) == (1, 7, 7)
    assert figures["obscura_build_info"] == 1


def test_counters_outlive_their_process() -> None:
    """They go on from where they were; what was open with it is gone."""
    metrics, first, second = MetricsAggregator(), Process(), Process()
    first.sent.labels("a").inc(5)
    first.took.observe(0.5)
    first.sockets.set(9)
    metrics.update(1, first.text)
    metrics.remove_process(1)
    alone = samples(metrics.text())
    assert (alone["obscura_sent_total a"], alone["obscura_took_seconds_count"]) == (5, 1)
    assert "obscura_sockets" not in alone
    second.sent.labels("a").inc(1)
    second.sockets.set(1)
    metrics.update(2, second.text)
    both = samples(metrics.text())
    assert (both["obscura_sent_total a"], both["obscura_sockets"]) == (6, 1)
    metrics.remove_process(2)
    metrics.remove_process(2)
    assert samples(metrics.text())["obscura_sent_total a"] == 6


def test_a_process_that_is_asked_again_counts_once() -> None:
    """Its last word is in place of the one before."""
    metrics, process = MetricsAggregator(), Process()
    for _ in range(3):
        process.sent.labels("a").inc()
        metrics.update(1, process.text)
    assert samples(metrics.text())["obscura_sent_total a"] == 3


def test_types_and_explanations_are_kept() -> None:
    """What comes out is what one process would have said."""
    process = Process()
    process.sent.labels('a"b\\c\nd').inc()
    process.took.observe(1)
    metrics = MetricsAggregator()
    metrics.update(1, process.text)
    assert sorted(metrics.text().decode().splitlines()) == sorted(process.text.splitlines())


def test_a_supervisor_has_no_gauges_of_a_server() -> None:
    """It has no Redis, so its zeros would say that there is none; what it counts and the process it is remain."""
    process = Process()
    process.gauge("obscura_redis_connected", 0)
    process.gauge("process_open_fds", 3)
    process.sent.labels("a").inc()
    figures = samples(without_gauges(process.text))
    assert (figures["process_open_fds"], figures["obscura_sent_total a"]) == (3, 1)
    assert not {"obscura_redis_connected", "obscura_sockets"} & figures.keys()
