"""A collector of traces: takes OTLP over HTTP, as OpenTelemetry's own does, and keeps what came."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager

from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span


class Collector:
    """What was sent so far. ``status`` is what it answers."""

    def __init__(self) -> None:
        self._going_on = asyncio.Event()
        self._going_on.set()
        self.spans: list[Span] = []
        self.resource: dict[str, str] = {}
        self.received = b""
        self.status = 200
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def hang(self) -> None:
        """Answer nothing until `go_on`."""
        self._going_on.clear()

    def go_on(self) -> None:
        self._going_on.set()

    def named(self, name: str) -> list[Span]:
        return [span for span in self.spans if span.name == name]

    def below(self, span: Span) -> list[Span]:
        """The spans of which another is the parent."""
        return [one for one in self.spans if one.parent_span_id == span.span_id and one.trace_id == span.trace_id]

    async def take(self, request: web.Request) -> web.Response:
        body = await request.read()
        await self._going_on.wait()
        if self.status != 200:
            return web.Response(status=self.status)
        self.received += body
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            self.resource = attributes(resource.resource.attributes)
            for scope in resource.scope_spans:
                self.spans.extend(scope.spans)
        reply = ExportTraceServiceResponse().SerializeToString()
        return web.Response(body=reply, content_type="application/x-protobuf")


def attributes(pairs: Iterable[KeyValue]) -> dict[str, str]:
    """Attributes by name, every value as text."""
    return {one.key: one.value.string_value or str(one.value.int_value) for one in pairs}


@asynccontextmanager
async def collector() -> AsyncIterator[Collector]:
    """A collector on a free port until the block ends."""
    taking = Collector()
    app = web.Application(client_max_size=2**26)
    app.router.add_post("/v1/traces", taking.take)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    taking.port = runner.addresses[0][1]
    try:
        yield taking
    finally:
        taking.go_on()
        await runner.cleanup()
