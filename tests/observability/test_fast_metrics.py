"""Histograms over plain numbers, measured against those of prometheus_client."""

import itertools
import math
import time

import prometheus_client
import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from obscura.observability.fast_metrics import Histogram, Requests

pytestmark = pytest.mark.libraries

BOUNDS = (0.001, 0.0025, 0.5, 10)
# On a bound, just beside it, below all and above all.
TIMES = [0.0, 1e-9, 0.3, 1e6] + [f for b in BOUNDS for f in (b, math.nextafter(b, 0), math.nextafter(b, math.inf))]

Value = float
Labels = frozenset[tuple[str, str]]


def figures(registry: CollectorRegistry) -> dict[tuple[str, Labels], Value]:
    """What Prometheus reads."""
    families = text_string_to_metric_families(generate_latest(registry).decode())
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in families
        for sample in family.samples
        if not sample.name.endswith("_created")
    }


def test_it_reads_like_the_real_one() -> None:
    """For times on, beside and beyond every bound, over several labels, the text is that of prometheus_client."""
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    our = Histogram("a_seconds", "Times.", ["kind"], BOUNDS, ours)
    their = prometheus_client.Histogram("a_seconds", "Times.", ["kind"], buckets=BOUNDS, registry=theirs)
    for kind, seconds in itertools.product(("x", 'odd "\\\n'), TIMES):
        our.labels(kind).observe(seconds)
        their.labels(kind).observe(seconds)
    assert figures(ours) == figures(theirs)
    assert b"# TYPE a_seconds histogram" in generate_latest(ours)


def test_one_without_labels_is_there_before_its_first_time() -> None:
    """Zero is a figure too: a rate needs it."""
    registry = CollectorRegistry()
    Histogram("a_seconds", "Times.", [], BOUNDS, registry)
    assert registry.get_sample_value("a_seconds_count") == 0
    assert registry.get_sample_value("a_seconds_bucket", {"le": "+Inf"}) == 0


def test_requests_are_counted_by_answer() -> None:
    """Each answer counts once by its status, and its time once by its route."""
    registry = CollectorRegistry()
    requests = Requests("r", "r_seconds", BOUNDS, registry)
    began = time.perf_counter() - 0.1
    for status, count in ((200, 3), (503, 2)):
        for _ in range(count):
            requests.record("GET", "/a", status, began)
    requests.record("POST", "/a", 200, began)
    assert registry.get_sample_value("r_total", {"method": "GET", "route": "/a", "status": "200"}) == 3
    assert registry.get_sample_value("r_total", {"method": "GET", "route": "/a", "status": "503"}) == 2
    assert registry.get_sample_value("r_seconds_count", {"method": "GET", "route": "/a"}) == 5
    total = registry.get_sample_value("r_seconds_sum", {"method": "GET", "route": "/a"})
    assert total is not None
    assert total >= 0.5


def test_the_life_of_a_socket_is_not_the_time_of_an_answer() -> None:
    """A 101 is counted, but a day of it would drown all other times."""
    registry = CollectorRegistry()
    requests = Requests("r", "r_seconds", BOUNDS, registry)
    requests.record("GET", "/socket", 101, time.perf_counter())
    assert registry.get_sample_value("r_total", {"method": "GET", "route": "/socket", "status": "101"}) == 1
    assert registry.get_sample_value("r_seconds_count", {"method": "GET", "route": "/socket"}) == 0
