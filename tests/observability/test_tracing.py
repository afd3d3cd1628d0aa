"""Traces as a collector gets them: which spans, how they hang together, what is not in them, and what a fault costs."""

import asyncio
import logging
import secrets
import socket
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from obscura.errors import SettingsError
from obscura.node.node import Node
from tests.conftest import JWT_SECRET, StartNode
from tests.support.client import PASSWORD, Api
from tests.support.collector import Collector, attributes, collector
from tests.support.commands import run
from tests.support.inspection import metric
from tests.support.outages import killed
from tests.support.redis import RedisServer
from tests.support.waiting import eventually

pytestmark = pytest.mark.libraries

ROOT = Path(__file__).parents[2]
SEND = "POST /v1/messages/{recipientId}"


@pytest.fixture(autouse=True)
def short_delay(monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch is sent soon after its first span."""
    monkeypatch.setattr("obscura.observability.otlp._BATCH_DELAY_MS", 50)


@pytest.fixture
async def taking() -> AsyncIterator[Collector]:
    async with collector() as one:
        yield one


@pytest.fixture
async def traced(taking: Collector, start_node: StartNode, connect_api: Callable[[Node], Api]) -> Api:
    """Calls to a node that sends its traces to the collector."""
    return connect_api(await start_node(otlp_endpoint=taking.url))


async def one_span(taking: Collector, name: str) -> Span:
    (span,) = await eventually(lambda: taking.named(name))
    return span


async def test_a_request_is_a_span_with_its_scripts_below(taking: Collector, traced: Api) -> None:
    """Method, route and status on the request's; each script it ran is a child, in its time."""
    alice, bob = await traced.register(), await traced.register()
    assert (await alice.send(bob, b"hello")).status == 201
    request = await one_span(taking, SEND)
    assert request.kind == Span.SPAN_KIND_SERVER
    assert attributes(request.attributes) == {
        "http.request.method": "POST",
        "http.route": "/v1/messages/{recipientId}",
        "http.response.status_code": "201",
    }
    (script,) = taking.below(request)
    assert (script.name, script.kind) == ("messages_append", Span.SPAN_KIND_CLIENT)
    assert attributes(script.attributes)["db.system.name"] == "redis"
    assert request.start_time_unix_nano <= script.start_time_unix_nano
    assert script.end_time_unix_nano <= request.end_time_unix_nano
    assert taking.resource["service.name"] == "obscura"
    assert taking.resource["service.version"]
    assert taking.resource["service.instance.id"]


async def test_the_storage_is_a_span_too(taking: Collector, traced: Api) -> None:
    """An upload and a download show what the store took of their time."""
    user = await traced.register()
    stored = await traced.call("POST", "/v1/attachments", token=user.token, data=b"12345")
    await traced.call("GET", f"/v1/attachments/{stored.json['id']}", token=user.token)
    upload = await one_span(taking, "POST /v1/attachments")
    download = await one_span(taking, "GET /v1/attachments/{id}")
    assert "storage put" in [span.name for span in taking.below(upload)]
    assert "storage get" in [span.name for span in taking.below(download)]


async def test_a_trace_of_the_caller_goes_on(taking: Collector, traced: Api) -> None:
    """With a traceparent the request's span is a child of it, in the same trace."""
    trace, parent = secrets.token_hex(16), secrets.token_hex(8)
    headers = {"traceparent": f"00-{trace}-{parent}-01", "tracestate": "someone=secret-state"}
    await traced.call("GET", "/openapi.yaml", headers=headers)
    span = await one_span(taking, "GET /openapi.yaml")
    assert (span.trace_id.hex(), span.parent_span_id.hex()) == (trace, parent)
    assert span.trace_state == ""


@pytest.mark.parametrize("junk", ["", "junk", f"00-{'0' * 32}-{'0' * 16}-01", "00-1-2-3", "x" * 5000])
async def test_a_broken_traceparent_begins_a_new_trace(taking: Collector, traced: Api, junk: str) -> None:
    """What is no trace context is ignored, and the request is served."""
    answer = await traced.call("GET", "/openapi.yaml", headers={"traceparent": junk})
    assert answer.status == 200
    span = await one_span(taking, "GET /openapi.yaml")
    assert span.parent_span_id == b""
    assert any(span.trace_id)


async def test_who_asks_for_no_trace_gets_none(taking: Collector, traced: Api) -> None:
    """The flag of the traceparent is the caller's decision."""
    trace = secrets.token_hex(16)
    headers = {"traceparent": f"00-{trace}-{secrets.token_hex(8)}-00"}
    user = await traced.register()
    await traced.call("GET", f"/v1/keys/{user.id}", headers=headers)
    await traced.call("GET", "/openapi.yaml")
    await one_span(taking, "GET /openapi.yaml")
    assert trace not in {span.trace_id.hex() for span in taking.spans}


async def test_a_ratio_of_nothing_sends_nothing(
    taking: Collector, start_node: StartNode, connect_api: Callable[[Node], Api]
) -> None:
    """But for the callers that ask for theirs."""
    api = connect_api(await start_node(otlp_endpoint=taking.url, otlp_sample_ratio=0))
    for _ in range(20):
        await api.call("GET", "/openapi.yaml")
    trace = secrets.token_hex(16)
    await api.call("GET", "/v1/none", headers={"traceparent": f"00-{trace}-{secrets.token_hex(8)}-01"})
    span = await one_span(taking, "GET unknown")
    assert span.trace_id.hex() == trace
    assert len(taking.spans) == 1


async def test_requests_of_one_connection_are_traces_of_their_own(taking: Collector, traced: Api) -> None:
    """Nothing of a request is left for the next one on its connection, or for others at the same time."""
    user = await traced.register()
    await asyncio.gather(*(user.send(user, b"hello") for _ in range(20)))
    spans = await eventually(lambda: len(found := taking.named(SEND)) == 20 and found)
    assert len({span.trace_id for span in spans}) == 20
    assert [len(taking.below(span)) for span in spans] == [1] * 20


async def test_the_span_of_a_socket_ends_with_its_upgrade(taking: Collector, traced: Api) -> None:
    """A socket lasts for days; what it does later belongs to no request."""
    user = await traced.register()
    socket_ = await user.connect()
    span = await one_span(taking, "GET /v1/gateway")
    assert attributes(span.attributes)["http.response.status_code"] == "101"
    before = len(taking.below(span))
    await user.deliver(user, b"hello")
    await socket_.ack(await socket_.envelope())
    await socket_.close()
    await one_span(taking, SEND)
    await traced.call("GET", "/openapi.yaml")
    await one_span(taking, "GET /openapi.yaml")
    assert len(taking.below(span)) == before
    assert len(taking.named("GET /v1/gateway")) == 1


async def test_a_fault_is_marked(
    taking: Collector, own_redis: RedisServer, start_node: StartNode, connect_api: Callable[[Node], Api]
) -> None:
    """A 503 and the script that failed are errors by class, without their texts; a 404 is none."""
    api = connect_api(await start_node(redis_url=own_redis.url, otlp_endpoint=taking.url))
    user = await api.register()
    with killed(own_redis):
        assert (await user.send(user, b"hello")).status == 503
    request = await one_span(taking, SEND)
    (script,) = taking.below(request)
    for span, kind in ((request, "503"), (script, "StoreUnavailable")):
        assert span.status.code == Status.STATUS_CODE_ERROR
        assert span.status.message == ""
        assert attributes(span.attributes)["error.type"] == kind
        assert not span.events
    await api.call("GET", "/nothing")
    assert (await one_span(taking, "GET unknown")).status.code == Status.STATUS_CODE_UNSET


async def test_no_span_says_who_it_was(taking: Collector, traced: Api) -> None:
    """No id, name, token, password, path, query or header of a client's goes to the collector."""
    alice, bob = await traced.register(), await traced.register()
    await alice.send(bob, b"a confidential message", headers={"Idempotency-Key": "confidential-key"})
    connection = await bob.connect()
    await connection.close()
    await alice.bundle_of(bob)
    await traced.login(alice.name, "a confidential wrong password")
    await traced.call("GET", "/confidential-path?confidential-query=1", headers={"User-Agent": "confidential"})
    await traced.call("CONFIDENTIAL", "/v1/users", headers={"baggage": "confidential=1"})
    await traced.call("GET", "/openapi.yaml")
    await one_span(taking, "GET /openapi.yaml")
    secret = {"onfidential", "CONFIDENTIAL", PASSWORD, JWT_SECRET, "127.0.0.1"}
    for user in (alice, bob):
        secret |= {user.id, user.name, user.token, user.refresh_token, user.session_id, user.device.identity_key}
    assert taking.received
    assert [one for one in secret if one.encode() in taking.received] == []


async def test_log_lines_name_the_trace(taking: Collector, traced: Api, caplog: pytest.LogCaptureFixture) -> None:
    """So that one leads to the other."""
    from obscura.observability.logs import JsonFormatter

    caplog.set_level(logging.DEBUG, logger="obscura")
    caplog.handler.setFormatter(JsonFormatter())
    await traced.call("GET", "/openapi.yaml", headers={"x-request-id": "the-traced-one"})
    span = await one_span(taking, "GET /openapi.yaml")
    (line,) = [line for line in caplog.text.splitlines() if "the-traced-one" in line]
    assert f'"trace_id": "{span.trace_id.hex()}"' in line


# Faults of the collector.


async def answers(api: Api) -> None:
    assert (await api.call("GET", "/openapi.yaml")).status == 200


async def dropped_more(than: float) -> bool:
    return metric("obscura_trace_spans_dropped_total") > than


def unused_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def test_a_collector_that_is_away_costs_a_count_and_a_line(
    start_node: StartNode, connect_api: Callable[[Node], Api], caplog: pytest.LogCaptureFixture
) -> None:
    """Requests are served, lost spans are counted, and the log does not fill; nor does it name an address."""
    before = metric("obscura_trace_spans_dropped_total")
    node = await start_node(otlp_endpoint=f"http://127.0.0.1:{unused_port()}")
    api = connect_api(node)
    for _ in range(50):
        await answers(api)
    await eventually(lambda: dropped_more(before))
    await node.stop()
    lines = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert len([line for line in lines if "traces" in line.getMessage()]) <= 1
    assert [line for line in lines if line.name.startswith("opentelemetry")] == []


@pytest.mark.parametrize("status", [400, 503])
async def test_a_collector_that_refuses_is_no_fault_of_a_request(taking: Collector, traced: Api, status: int) -> None:
    """What it does not take is counted, and what comes when it does is sent."""
    before = metric("obscura_trace_spans_dropped_total")
    taking.status = status
    await answers(traced)
    await eventually(lambda: dropped_more(before))
    taking.status = 200
    sent = metric("obscura_trace_spans_exported_total")
    await answers(traced)
    await one_span(taking, "GET /openapi.yaml")
    await eventually(lambda: metric("obscura_trace_spans_exported_total") > sent)


async def test_a_flood_that_the_collector_does_not_follow_is_bounded(
    taking: Collector, traced: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Past a number of waiting spans the next ones are dropped and counted, not kept."""
    monkeypatch.setattr("obscura.observability.otlp._MAX_WAITING", 10)
    taking.hang()
    before = metric("obscura_trace_spans_dropped_total")
    for _ in range(15):
        await answers(traced)
    assert metric("obscura_trace_spans_dropped_total") == before + 5
    taking.go_on()
    await eventually(lambda: len(taking.named("GET /openapi.yaml")) == 10)


async def test_a_stop_sends_what_waits(
    taking: Collector, start_node: StartNode, connect_api: Callable[[Node], Api]
) -> None:
    """The last request's span is not lost."""
    node = await start_node(otlp_endpoint=taking.url)
    await answers(connect_api(node))
    await node.stop()
    assert len(taking.named("GET /openapi.yaml")) == 1


async def test_a_stop_does_not_wait_for_a_collector_that_hangs(
    taking: Collector, start_node: StartNode, connect_api: Callable[[Node], Api]
) -> None:
    """The node ends within its shutdown timeout all the same."""
    node = await start_node(otlp_endpoint=taking.url, shutdown_timeout_secs=4)
    taking.hang()
    await answers(connect_api(node))
    async with asyncio.timeout(4):
        await node.stop()
    assert taking.spans == []


# Without.


async def test_without_a_collector_nothing_is_imported() -> None:
    """A node without one loads nothing for traces. (redis-py loads OpenTelemetry's metrics, if they are there.)"""
    script = (
        "import asyncio, sys, tempfile, obscura.cli\n"
        "from obscura.settings.model import Settings\n"
        "from obscura.node.node import Node\n"
        "async def run():\n"
        "    with tempfile.TemporaryDirectory() as folder:\n"
        "        node = Node(Settings(host='127.0.0.1', port=0, mgmt_port=0, data_dir=folder))\n"
        "        await node.start()\n"
        "        await node.stop()\n"
        "asyncio.run(run())\n"
        "traces = ('obscura.observability.otlp', 'opentelemetry.sdk.trace', 'opentelemetry.exporter')\n"
        "print([name for name in sys.modules if name.startswith(traces)])\n"
    )
    assert await run_python(script) == "[]\n"


async def test_without_the_package_the_start_says_what_to_install() -> None:
    """A collector is named but the extra is not installed: one sentence with the command, and exit code 1."""
    script = (
        "import sys\n"
        "sys.modules['opentelemetry'] = None\n"
        "from obscura.cli import main\n"
        "code = main(['serve', '--otlp-endpoint', 'http://127.0.0.1:4318'])\n"
        "print(code)\n"
    )
    output = await run_python(script)
    assert output == "obscura: OBSCURA_OTLP_ENDPOINT needs OpenTelemetry: pip install 'obscura[otel]'\n1\n"


async def run_python(script: str) -> str:
    """Run a script from the root of the project; gives all that it writes."""
    return (await run(sys.executable, "-c", script, is_merged=True)).output


@pytest.mark.parametrize("url", ["collector:4318", "grpc://collector:4317", "http://", "http://c:x", "http://c/?a=b"])
def test_a_collector_must_be_an_http_url(url: str) -> None:
    """A wrong one is refused by name, not found out by missing traces."""
    from obscura.settings.loading import load

    with pytest.raises(SettingsError, match=r"OBSCURA_OTLP_ENDPOINT must be like http://collector:4318"):
        load([], {"OBSCURA_OTLP_ENDPOINT": url})
