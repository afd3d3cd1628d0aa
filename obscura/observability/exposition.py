"""The figures of this process in Prometheus's text format."""

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

METRICS_CONTENT_TYPE = CONTENT_TYPE_LATEST


async def own_metrics() -> bytes:
    """What /metrics of a process that is alone answers. Async as where there are several, which have to be asked."""
    return generate_latest()
