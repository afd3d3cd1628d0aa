"""Spans on their way to a collector, over OTLP/HTTP. Imported only where one is named.

They are sent from a thread of their own. What the collector does not take in time is
thrown away and counted: it holds up nothing. Of the standard's own variables those for
a collector's credentials and certificates hold, and those of resource attributes.
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
from obscura.observability.metrics import SPANS_DROPPED, SPANS_EXPORTED

_MAX_WAITING = 4096  # spans, of some 2 KiB each
_MAX_AT_ONCE = 512
_DELAY_MS = 1000
_EXPORT_TIMEOUT_SECS = 5.0  # of a batch, with the attempts to repeat it
_FAREWELL_SECS = 0.5  # for a collector that did not take the last batch
_NOT_TAKEN = "the collector of traces does not take them"

log = logging.getLogger(__name__)
log.addFilter(ThrottleFilter(_NOT_TAKEN, 60.0))

T = TypeVar("T")


class OtlpRequestSpan:
    """A request's span, and where those below it come from."""

    __slots__ = ("_context", "_span", "_tracer")

    def __init__(self, tracer: Tracer, span: Span, context: Context) -> None:
        self._tracer = tracer
        self._span = span
        self._context = context

    async def around(self, name: str, attributes: dict[str, str], call: Awaitable[T]) -> T:
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
    """Its threads run until `stop`."""

    def __init__(self, endpoint: str, sample_ratio: float, node_id: str) -> None:
        # It has lines for each batch that fails, with addresses in them; ours says it seldom and without.
        logging.getLogger("opentelemetry").setLevel(logging.CRITICAL)
        url = f"{endpoint.rstrip('/')}/v1/traces"
        self._exporter = _Exporter(OTLPSpanExporter(url, timeout=_EXPORT_TIMEOUT_SECS))
        self._provider = TracerProvider(
            ParentBased(TraceIdRatioBased(sample_ratio)),
            Resource.create(
                {"service.name": "obscura", "service.version": version("obscura"), "service.instance.id": node_id}
            ),
            shutdown_on_exit=False,
        )
        self._provider.add_span_processor(_Queue(self._exporter))
        self._tracer = self._provider.get_tracer("obscura", version("obscura"))
        self._propagator = TraceContextTextMapPropagator()

    def begin(self, traceparent: str) -> OtlpRequestSpan:
        # Alone: the tracestate beside it is text of the client's.
        parent = self._propagator.extract({"traceparent": traceparent}, Context())
        span = self._tracer.start_span("HTTP", parent, SpanKind.SERVER)
        trace_id.set(f"{span.get_span_context().trace_id:032x}")
        return OtlpRequestSpan(self._tracer, span, set_span_in_context(span, parent))

    async def stop(self, timeout_secs: float) -> None:
        loop = asyncio.get_running_loop()
        finished = asyncio.Event()

        def finish() -> None:
            self._provider.shutdown()
            with suppress(RuntimeError):  # the loop has ended before
                loop.call_soon_threadsafe(finished.set)

        # Of a kind that no end of a process waits for.
        threading.Thread(target=finish, name="last traces", daemon=True).start()
        patience_secs = min(timeout_secs, _FAREWELL_SECS) if self._exporter.is_failing else timeout_secs
        with suppress(TimeoutError):
            async with asyncio.timeout(patience_secs):
                await finished.wait()
        self._exporter.shutdown()


class _Exporter(SpanExporter):
    """Counts what was sent and what was not. It is called from one thread, but for `shutdown`."""

    def __init__(self, exporter: OTLPSpanExporter) -> None:
        self._exporter = exporter
        self._is_over = False
        self.is_failing = False
        self.done = 0  # spans sent or thrown away

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = SpanExportResult.FAILURE if self._is_over else self._exporter.export(spans)
        self.is_failing = result is not SpanExportResult.SUCCESS
        self.done += len(spans)
        if self.is_failing:
            SPANS_DROPPED.inc(len(spans))
            log.warning(_NOT_TAKEN)
        else:
            SPANS_EXPORTED.inc(len(spans))
        return result

    def shutdown(self) -> None:
        """Send nothing more, and repeat nothing. Safe to call again."""
        if not self._is_over:
            self._is_over = True
            self._exporter.shutdown()  # type: ignore[no-untyped-call]


class _Queue(BatchSpanProcessor):
    """OpenTelemetry's, but what it has no room for is counted rather than logged."""

    def __init__(self, exporter: _Exporter) -> None:
        super().__init__(exporter, _MAX_WAITING, _DELAY_MS, _MAX_AT_ONCE)
        self._exporter = exporter
        self._taken = 0  # changed by the event loop alone, as `done` is by the thread

    def on_end(self, span: ReadableSpan) -> None:
        context = span.context
        if context is None or not context.trace_flags.sampled:
            return
        if self._taken - self._exporter.done >= _MAX_WAITING:
            SPANS_DROPPED.inc()
            log.warning(_NOT_TAKEN)
            return
        self._taken += 1
        super().on_end(span)


def _fail(span: Span, error_type: str) -> None:
    span.set_attribute("error.type", error_type)
    span.set_status(StatusCode.ERROR)
