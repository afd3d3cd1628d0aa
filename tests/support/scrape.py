"""The figures of a node, as Prometheus reads them."""

from collections.abc import Mapping

from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from tests.support.client import Api


async def scrape(management: Api) -> Mapping[str, Metric]:
    """The metrics of /metrics by name, a counter's with its ``_total``."""
    answer = await management.call("GET", "/metrics")
    assert answer.status == 200, answer
    return {full_name(one): one for one in text_string_to_metric_families(answer.body.decode())}


def full_name(family: Metric) -> str:
    return f"{family.name}_total" if family.type == "counter" else family.name


def series_names(families: Mapping[str, Metric]) -> set[str]:
    """All that a query can name."""
    return {sample.name for family in families.values() for sample in family.samples}


def labels_of(family: Metric) -> set[str]:
    """The names of its labels, but for the bucket's."""
    return {name for sample in family.samples for name in sample.labels} - {"le"}
