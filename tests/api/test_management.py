"""The management port: is the process alive, should clients be sent here, and its figures."""

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families

from obscura.api.management import READINESS
from obscura.api.routes import MANAGEMENT_ROUTES
from obscura.http.server import HttpServer, ServerOptions
from obscura.node.node import Node
from obscura.node.readiness import Readiness
from tests.conftest import StartNode
from tests.support.client import Api, exchange
from tests.support.redis import RedisServer
from tests.support.waiting import eventually

Check = Callable[[], Awaitable[bool]]


async def yes() -> bool:
    return True


async def no() -> bool:
    return False


async def broken() -> bool:
    raise RuntimeError("a check that nobody expected to fail")


@pytest.fixture
async def management(node: Node, session: aiohttp.ClientSession) -> Api:
    return Api(session, node.management_port)


async def ready(management: Api) -> tuple[int, dict[str, str]]:
    answer = await management.call("GET", "/readyz")
    return answer.status, answer.json


HEALTHY = (200, {"status": "ok", "database": "ok", "storage": "ok", "events": "ok", "clock": "ok"})


async def test_a_node_that_runs_is_ready(management: Api) -> None:
    """Both probes are 200 in JSON, and readiness names each part."""
    answer = await management.call("GET", "/livez")
    assert (answer.status, answer.json) == (200, {"status": "ok"})
    assert await ready(management) == HEALTHY


async def test_the_ports_do_not_mix(node: Node, api: Api, management: Api) -> None:
    """Health and figures are not on the port of clients, nor the API on the other."""
    for path in ("/livez", "/readyz", "/metrics"):
        assert (await api.call("GET", path)).status == 404
        assert (await management.call("HEAD", path)).status == 200
        assert (await management.call("POST", path)).status == 405
    assert (await management.call("GET", "/openapi.yaml")).status == 404
    assert (await management.call("POST", "/v1/users", json={})).error == "Not found"


async def test_bad_requests_are_refused_in_json_here_too(management: Api) -> None:
    """The management port answers what is no HTTP, no route or no method of it like the other one."""
    for request, status in (
        (b"hello\r\n\r\n", 400),
        (b"GET /livez HTTP/1.1\r\nHost: x\r\nExpect: x\r\n\r\n", 417),
        (b"DELETE /readyz HTTP/1.1\r\nHost: x\r\n\r\n", 405),
        (b"GET /metrics/all HTTP/1.1\r\nHost: x\r\n\r\n", 404),
    ):
        answer = await exchange(management.port, request)
        assert (answer.status, list(answer.json)) == (status, ["error"])
        assert answer.headers["x-request-id"]


@pytest.mark.parametrize("stop", [signal.SIGKILL, signal.SIGSTOP])
async def test_a_node_without_redis_is_alive_but_not_ready(
    own_redis: RedisServer, start_node: StartNode, session: aiohttp.ClientSession, stop: signal.Signals
) -> None:
    """Redis dead or hung: readiness is 503 and names it, liveness stays 200; when it is back so is the node."""
    node = await start_node(redis_url=own_redis.url, health_db_timeout_ms=200)
    management = Api(session, node.management_port)
    assert own_redis.process is not None
    own_redis.process.send_signal(stop)
    try:
        status, parts = await ready(management)
        assert (status, parts["status"], parts["database"], parts["storage"]) == (503, "error", "error", "ok")
        assert (await management.call("GET", "/livez")).status == 200
        await eventually(lambda: says(management, "events", "error"))
    finally:
        if stop is signal.SIGSTOP:
            own_redis.process.send_signal(signal.SIGCONT)
        else:
            own_redis.kill()
            own_redis.start()
    await eventually(lambda: says(management, "status", "ok"))


async def says(management: Api, part: str, result: str) -> bool:
    return (await ready(management))[1][part] == result


async def test_a_deaf_node_is_not_ready(
    own_redis: RedisServer, start_node: StartNode, session: aiohttp.ClientSession
) -> None:
    """A node that answers but does not hear its events is 503, as messages would be late; it recovers by itself."""
    management = Api(session, (await start_node(redis_url=own_redis.url)).management_port)

    async def deafen() -> tuple[int, dict[str, str]]:
        with own_redis.client as client:
            client.client_kill_filter(_type="pubsub")
        return await ready(management)

    deaf = (503, HEALTHY[1] | {"status": "error", "events": "error"})
    await eventually(lambda: is_result(deafen(), deaf))
    await eventually(lambda: is_result(ready(management), HEALTHY))


async def is_result(asked: Awaitable[object], wanted: object) -> bool:
    return await asked == wanted


async def test_a_node_that_is_stopping_is_not_ready(node: Node, api: Api, management: Api) -> None:
    """From the first moment of a stop no new clients are sent here, while what was begun is finished."""
    reader, writer = await asyncio.open_connection("127.0.0.1", api.port)
    writer.write(b"POST /v1/users HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n")
    await reader.readuntil(b"\r\n\r\n")
    stopping = asyncio.create_task(node.stop())
    await eventually(lambda: is_result(ready(management), (503, HEALTHY[1] | {"status": "draining"})))
    writer.write(b"{}")
    assert (await reader.readline()).startswith(b"HTTP/1.1 400")
    writer.close()
    await stopping


Judge = Callable[..., Awaitable[tuple[int, dict[str, str]]]]


@pytest.fixture
async def judge(session: aiohttp.ClientSession) -> AsyncIterator[Judge]:
    """Asks a management port whose checks are given."""
    server = HttpServer(MANAGEMENT_ROUTES, ServerOptions(0, 1))
    checks: dict[str, Check] = {}
    server.app[READINESS] = Readiness(checks, lambda: False)
    await server.start("127.0.0.1", 0)

    async def ask(**given: Check) -> tuple[int, dict[str, str]]:
        checks.update(given)
        return await ready(Api(session, server.port))

    yield ask
    await server.stop()


@pytest.mark.parametrize("part", ["storage", "clock"])
async def test_some_parts_leave_a_node_ready(judge: Judge, part: str) -> None:
    """Without its storage, or with a wrong clock, a node still delivers messages: degraded, but 200."""
    checks: Mapping[str, Check] = {"database": yes, "storage": yes, "events": yes, "clock": yes}
    assert await judge(**{**checks, part: no}) == (200, HEALTHY[1] | {"status": "degraded", part: "error"})


@pytest.mark.parametrize(("ahead_secs", "result"), [(-300, "error"), (-30, "ok"), (30, "ok"), (300, "error")])
async def test_a_clock_over_the_allowance_is_told(
    start_node: StartNode, session: aiohttp.ClientSession, ahead_secs: float, result: str
) -> None:
    """A machine whose clock is more than a minute from Redis's says so, and goes on serving."""
    node = await start_node(now=lambda: time.time() + ahead_secs)
    status, parts = await ready(Api(session, node.management_port))
    assert (status, parts["clock"]) == (200, result)
    assert parts["status"] == ("ok" if result == "ok" else "degraded")


@pytest.mark.parametrize("part", ["database", "events"])
@pytest.mark.parametrize("check", [no, broken])
async def test_any_other_part_makes_a_node_not_ready(judge: Judge, part: str, check: Check) -> None:
    """One failed check is enough, a check that fails by itself too, and the others are still reported."""
    checks: Mapping[str, Check] = {"database": yes, "storage": yes, "events": yes}
    expected = {"database": "ok", "storage": "ok", "events": "ok"} | {"status": "error", part: "error"}
    assert await judge(**{**checks, part: check}) == (503, expected)


async def test_the_figures_are_prometheus_text(management: Api, api: Api) -> None:
    """The metrics parse, are all explained, and name nobody."""
    user = await api.register()
    socket = await user.connect()
    await user.deliver(user, b"hello")
    await socket.envelope()
    answer = await management.call("GET", "/metrics")
    text = answer.body.decode()
    assert answer.headers["Content-Type"].startswith("text/plain")
    ours = [family for family in text_string_to_metric_families(text) if family.name.startswith("obscura_")]
    assert {"obscura_messages_sent", "obscura_gateway_sockets", "obscura_http_requests"} <= {one.name for one in ours}
    assert all(family.documentation for family in ours)
    assert not any(secret in text for secret in (user.id, user.name, user.session_id, user.token))
