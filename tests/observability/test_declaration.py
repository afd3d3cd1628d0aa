"""A declared metric: what /metrics has of it from the start, and what the page is made from."""

from collections.abc import Iterator

import pytest
from prometheus_client import REGISTRY
from prometheus_client.registry import Collector

from obscura.observability.metrics import TOPICS
from obscura.observability.metrics.declaration import Topic


@pytest.fixture
def topic(monkeypatch: pytest.MonkeyPatch) -> Iterator[Topic]:
    """A topic whose metrics are forgotten afterwards."""
    made: list[Collector] = []
    register = REGISTRY.register

    def note(collector: Collector) -> None:
        register(collector)
        made.append(collector)

    monkeypatch.setattr(REGISTRY, "register", note)
    yield Topic("Trial")
    for collector in made:
        REGISTRY.unregister(collector)


def test_each_series_of_a_counter_is_there_from_the_start(topic: Topic) -> None:
    """With every combination of the values that its labels can have, so that the first rise of each is seen."""
    topic.counter("trial_ends", "Ends.", {"kind": ("a", "b"), "outcome": ("done",)})
    for kind in ("a", "b"):
        assert REGISTRY.get_sample_value("trial_ends_total", {"kind": kind, "outcome": "done"}) == 0


def test_a_label_without_listed_values_has_a_series_at_its_first_use(topic: Topic) -> None:
    """As the name of a script."""
    calls = topic.counter("trial_calls", "Calls.", {"operation": ()})
    assert REGISTRY.get_sample_value("trial_calls_total", {"operation": "x"}) is None
    calls.labels("x").inc()
    assert REGISTRY.get_sample_value("trial_calls_total", {"operation": "x"}) == 1


def test_a_description_has_the_name_that_is_exposed(topic: Topic) -> None:
    """Of each kind, with what an operator is told."""
    topic.counter("trial_ends", "Ends.", detail="Detail.", watch="watch")
    topic.gauge("trial_open", "Open ones.")
    topic.histogram("trial_seconds", "Times.", (1, 2), {"phase": ()})
    topic.requests("trial_requests", "trial_request_seconds", (1,), watch=("first", "second"))
    found = [(one.name, one.kind, tuple(one.labels), one.watch) for one in topic.metrics]
    assert found == [
        ("trial_ends_total", "counter", (), "watch"),
        ("trial_open", "gauge", (), ""),
        ("trial_seconds", "histogram", ("phase",), ""),
        ("trial_requests_total", "counter", ("method", "route", "status"), "first"),
        ("trial_request_seconds", "histogram", ("method", "route"), "second"),
    ]


def test_every_text_is_a_sentence_that_fits_a_table() -> None:
    """Help and detail end in a period; none has a bar or a line break."""
    for one in (metric for topic in TOPICS for metric in topic.metrics):
        assert one.help.endswith("."), one.name
        assert not one.detail or one.detail.endswith("."), one.name
        assert not set("|\n") & set(one.help + one.detail + one.watch), one.name
