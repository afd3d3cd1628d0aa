"""The text of a process's metrics: what Prometheus reads."""

import pytest
from prometheus_client.parser import text_string_to_metric_families

from obscura.observability.exposition import METRICS_CONTENT_TYPE, own_metrics
from obscura.observability.metrics import TOPICS

pytestmark = pytest.mark.libraries


async def test_every_declared_metric_is_told() -> None:
    """From the start, before anything was counted."""
    families = {family.name for family in text_string_to_metric_families((await own_metrics()).decode())}
    assert {metric.name.removesuffix("_total") for topic in TOPICS for metric in topic.metrics} <= families
    assert METRICS_CONTENT_TYPE.startswith("text/plain")
