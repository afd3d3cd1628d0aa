"""Latencies counted apart and put together."""

import pytest

from obscura.bench.histogram import Latencies


def test_percentiles_survive_the_way_between_processes() -> None:
    """Two halves that were counted apart are one whole."""
    whole, halves = Latencies(), [Latencies(), Latencies()]
    for number in range(1, 1001):
        halves[number % 2].record(number / 1000)
    for half in halves:
        whole.add(half.encode())
    summary = whole.summary_ms()
    assert whole.count == 1000
    assert (summary["p50"], summary["p99"], summary["max"]) == pytest.approx((500, 990, 1000), rel=0.002)
