"""Traces: a span for each request and for what it waits for.

Off unless a collector is named: OpenTelemetry is not even imported then, and a request
costs no more than one look at `current_span`. A span says which route, script or operation it was,
how long it took and how it ended; never who asked, nor anything that a client wrote.
"""

from collections.abc import Awaitable
from contextvars import ContextVar
from typing import Protocol, TypeVar

from obscura.errors import StartupError

T = TypeVar("T")


class RequestSpan(Protocol):
    """The span of the request being served."""

    async def child_span(self, name: str, attributes: dict[str, str], call: Awaitable[T]) -> T:
        """Await a call within a span that is a child of this one. After the end of this one there is no child span.

        Raises:
            Exception: What the call raises. The span has its class, not its text.
        """

    def end(self, method: str, route: str, status: int | None) -> None:
        """End with what was answered; None: nothing was. Only the first call counts."""


class Tracing(Protocol):
    """Makes spans and sends them off."""

    def begin(self, traceparent: str) -> RequestSpan:
        """Begin the span of a request.

        Args:
            traceparent: The header (W3C Trace Context, section 3.2). It is continued if it is well-formed.
        """

    async def stop(self, timeout_secs: float) -> None:
        """Send the spans that wait, for at most so long; the rest is thrown away and counted."""


current_span: ContextVar[RequestSpan | None] = ContextVar("current_span", default=None)
"""The span of the request being served. None without traces, between requests, and once a request is a socket."""


def make_tracing(endpoint: str, sample_ratio: float, node_id: str) -> Tracing:
    """Get ready to send spans to a collector, which need not be there.

    Args:
        endpoint: Its base URL, as in the standard's ``OTEL_EXPORTER_OTLP_ENDPOINT``.
        sample_ratio: The share of traces that is sent. A caller with a traceparent has decided for its trace.
        node_id: Tells the nodes apart in what is sent.

    Raises:
        StartupError: OpenTelemetry is not installed.
    """
    try:
        from obscura.observability.otlp import OtlpTracing  # noqa: PLC0415
    except ModuleNotFoundError as error:
        if not (error.name or "").startswith("opentelemetry"):
            raise
        raise StartupError("OBSCURA_OTLP_ENDPOINT needs OpenTelemetry: pip install 'obscura[otel]'") from error
    return OtlpTracing(endpoint, sample_ratio, node_id)
