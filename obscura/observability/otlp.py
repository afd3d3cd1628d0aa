"""Spans on their way to a collector, over OTLP/HTTP. Imported only where one is named.

A thread of their own sends them. Spans that the collector does not take in time are
thrown away and counted, so no request waits for it. OpenTelemetry's own environment
variables for credentials, certificates and resource attributes hold.
"""

import asyncio
import logging
import threading
from collections.abc import Awaitable, Sequence
from contextlib import suppress
from importlib.metadata import version
from typing import TypeVar

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
from opentelemetry.trace import Span, SpanKind, StatusCode, Tracer, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from obscura.observability.logs import ThrottleFilter, trace_id
from obscura.observability.metrics.process import SPANS_DROPPED, SPANS_EXPORTED

_MAX_WAITING = 4096  # spans, of some 2 KiB each
_MAX_BATCH_SIZE = 512
_BATCH_DELAY_MS = 1000
_EXPORT_TIMEOUT_SECS = 5.0  # of a batch, with the attempts to repeat it
_LAST_EXPORT_TIMEOUT_SECS = 0.5  # for a collector that did not take the last batch
_EXPORT_FAILED = "the collector of traces does not take them"

log = logging.getLogger(__name__)
log.addFilter(ThrottleFilter(_EXPORT_FAILED, 60.0))

T = TypeVar("T")


class OtlpRequestSpan:
    """A request's span, and where those below it come from."""

    __slots__ = ("_context", "_span", "_tracer")

    def __init__(self, tracer: Tracer, span: Span, context: Context) -> None:
        self._tracer = tracer
        self._span = span
        self._context = context

    async def child_span(self, name: str, attributes: dict[str, str], call: Awaitable[T]) -> T:
        if not self._span.is_recording():
            return await call
        span = self._tracer.start_span(name, self._context, SpanKind.CLIENT, attributes)
        try:
            return await call
        except BaseException as error:
            _fail(span, type(error).__name__)  # its text may say more than a trace should
            raise
        finally:
            span.end()

    def end(self, method: str, route: str, status: int | None) -> None:
        span = self._span
        if not span.is_recording():
            return
        span.update_name(f"{method} {route}")
        span.set_attribute("http.request.method", method)
        span.set_attribute("http.route", route)
        if status is None:
            _fail(span, "aborted")
        else:
            span.set_attribute("http.response.status_code", status)
            if status >= 500:
                _fail(span, str(status))
        span.end()


class OtlpTracing:
    """OpenTelemetry's provider with one exporter and one queue. Its threads run until `stop`."""

    def __init__(self, endpoint: str, sample_ratio: float, node_id: str) -> None:
        # OpenTelemetry logs each batch that fails, with the collector's address. Ours is one line a minute without.
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
        url = f"{endpoint.rstrip('/')}/v1/traces"
        self._exporter = _CountingExporter(OTLPSpanExporter(url, timeout=_EXPORT_TIMEOUT_SECS))
        self._provider = TracerProvider(
            ParentBased(TraceIdRatioBased(sample_ratio)),
            Resource.create(
                {"service.name": "obscura", "service.version": version("obscura"), "service.instance.id": node_id}
            ),
            shutdown_on_exit=False,
        )
        self._provider.add_span_processor(_BoundedSpanProcessor(self._exporter))
        self._tracer = self._provider.get_tracer("obscura", version("obscura"))
        self._propagator = TraceContextTextMapPropagator()

    def begin(self, traceparent: str) -> OtlpRequestSpan:
        # Without the tracestate beside it (W3C Trace Context, section 3.3): that is free text of the client's.
        parent = self._propagator.extract({"traceparent": traceparent}, Context())
        span = self._tracer.start_span("HTTP", parent, SpanKind.SERVER)
        trace_id.set(f"{span.get_span_context().trace_id:032x}")
        return OtlpRequestSpan(self._tracer, span, set_span_in_context(span, parent))

    async def stop(self, timeout_secs: float) -> None:
        loop = asyncio.get_running_loop()
        finished = asyncio.Event()

        def finish() -> None:
            self._provider.shutdown()
            with suppress(RuntimeError):  # the loop is closed already
                loop.call_soon_threadsafe(finished.set)

        # A daemon: the end of the process does not wait for it.
        threading.Thread(target=finish, name="last traces", daemon=True).start()
        if self._exporter.is_failing:
            timeout_secs = min(timeout_secs, _LAST_EXPORT_TIMEOUT_SECS)
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_secs):
                await finished.wait()
        self._exporter.shutdown()


class _CountingExporter(SpanExporter):
    """Counts the spans that were sent and those that were not. One thread calls it; only `shutdown` is for any."""

    def __init__(self, exporter: OTLPSpanExporter) -> None:
        self._exporter = exporter
        self._is_shut_down = False
        self.is_failing = False
        self.finished = 0  # spans sent or thrown away

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = SpanExportResult.FAILURE if self._is_shut_down else self._exporter.export(spans)
        self.is_failing = result is not SpanExportResult.SUCCESS
        self.finished += len(spans)
        if self.is_failing:
            SPANS_DROPPED.inc(len(spans))
            log.warning(_EXPORT_FAILED)
        else:
            SPANS_EXPORTED.inc(len(spans))
        return result

    def shutdown(self) -> None:
        """Send nothing more, and repeat nothing. Safe to call again."""
        if not self._is_shut_down:
            self._is_shut_down = True
            self._exporter.shutdown()  # type: ignore[no-untyped-call]


class _BoundedSpanProcessor(BatchSpanProcessor):
    """OpenTelemetry's processor, except that a span for which there is no room is counted instead of logged."""

    def __init__(self, exporter: _CountingExporter) -> None:
        super().__init__(exporter, _MAX_WAITING, _BATCH_DELAY_MS, _MAX_BATCH_SIZE)
        self._exporter = exporter
        self._queued = 0  # changed by the event loop alone, as `finished` is by the thread

    def on_end(self, span: ReadableSpan) -> None:
        context = span.context
        if context is None or not context.trace_flags.sampled:
            return
        if self._queued - self._exporter.finished >= _MAX_WAITING:
            SPANS_DROPPED.inc()
            log.warning(_EXPORT_FAILED)
            return
        self._queued += 1
        super().on_end(span)


def _fail(span: Span, error_type: str) -> None:
    span.set_attribute("error.type", error_type)
    span.set_status(StatusCode.ERROR)
