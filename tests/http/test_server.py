"""What surrounds every request: ids, headers, errors in JSON, counts, and clients that misbehave over HTTP."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Any
from uuid import UUID

import aiohttp
import pytest
from aiohttp import web

from obscura.http.bodies import read_body
from obscura.http.route import Route
from obscura.http.server import HttpServer, ServerOptions
from obscura.node.node import Node
from tests.conftest import StartNode
from tests.support.client import DEADLINE_SECS, Answer, Api, exchange
from tests.support.inspection import metric as own_metric
from tests.support.redis import RedisServer
from tests.support.waiting import eventually

pytestmark = pytest.mark.libraries

SECURITY_HEADERS = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "Server": "obscura",
    "X-Content-Type-Options": "nosniff",
}
KEY = "AAAAAAAAAAAAAAAAAAAAAA=="
HANDSHAKE = f"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}"


def get(target: str, *lines: str) -> bytes:
    return "\r\n".join([f"GET {target} HTTP/1.1", "Host: relay.example", *lines, "", ""]).encode()


async def answers_of_every_kind(api: Api, header: str) -> dict[str, Answer]:
    """One answer of each kind that the server gives, to requests with one more header."""
    user = await api.register()
    too_large = f"POST /v1/users HTTP/1.1\r\nHost: x\r\n{header}\r\nContent-Length: 99999999\r\n\r\n".encode()
    return {
        "success": await exchange(api.port, get("/openapi.yaml", header)),
        "no such path": await exchange(api.port, get("/nothing", header)),
        "wrong method": await exchange(api.port, get("/v1/users", header)),
        "our refusal": await exchange(api.port, get("/v1/keys/x", header)),
        "too large": await exchange(api.port, too_large),
        "failed expectation": await exchange(api.port, get("/openapi.yaml", header, "Expect: x")),
        "refused upgrade": await exchange(api.port, get("/v1/gateway?token=x", header, HANDSHAKE)),
        "upgrade": await exchange(api.port, get(f"/v1/gateway?token={user.token}", header, HANDSHAKE)),
    }


@pytest.mark.parametrize("given", ["a", "0123-abc_DEF.x", "x" * 64, "5d0d5e83-8bb5-4b1b-9c71-1f1c31aa1e0d"])
async def test_a_sane_request_id_comes_back(api: Api, given: str) -> None:
    """Up to 64 letters, digits, dots, underscores and hyphens come back on every kind of answer."""
    for kind, answer in (await answers_of_every_kind(api, f"X-Request-ID: {given}")).items():
        assert answer.headers["x-request-id"] == given, kind


@pytest.mark.parametrize("given", ["", "x" * 65, "two words", "a;b", "a\tb", "é", "<script>", "${jndi:x}", "a%0d%0ab"])
async def test_an_insane_request_id_is_replaced(api: Api, given: str) -> None:
    """Anything else is not repeated: the answer has a new UUID."""
    for kind, answer in (await answers_of_every_kind(api, f"X-Request-ID: {given}")).items():
        assert UUID(answer.headers["x-request-id"]).version == 8, kind


async def test_every_request_without_an_id_gets_its_own(api: Api) -> None:
    """Requests on one connection are told apart."""
    answers = [await api.call("GET", "/nothing") for _ in range(5)]
    assert len({UUID(answer.headers["x-request-id"]) for answer in answers}) == 5


async def test_every_answer_has_the_security_headers(api: Api) -> None:
    """Success, refusal or upgrade: not cached, not sniffed, no referrer with a token in it, no version."""
    answers = await answers_of_every_kind(api, "X: x")
    answers["not HTTP"] = await exchange(api.port, b"hello\r\n\r\n")
    for kind, answer in answers.items():
        assert {name: answer.headers.get(name) for name in SECURITY_HEADERS} == SECURITY_HEADERS, kind
        assert len(answer.headers.getall("Server")) == 1, kind  # type: ignore[attr-defined]


async def test_every_kind_of_answer_has_its_status(api: Api) -> None:
    """The kinds above are what they are called, so the tests above see all of them."""
    answers = await answers_of_every_kind(api, "X: x")
    assert [answer.status for answer in answers.values()] == [200, 404, 405, 400, 413, 417, 401, 101]


async def test_pipelined_requests_are_answered_in_order(api: Api) -> None:
    """Several requests in one packet each get their answer, the good ones before and behind a bad one too."""
    reader, writer = await asyncio.open_connection("127.0.0.1", api.port)
    writer.write(b"".join(get(path, f"X-Request-ID: {path[1:]}") for path in ("/one", "/openapi.yaml", "/three")))
    ids = [line async for line in lines_of(reader, 3)]
    assert ids == ["one", "openapi.yaml", "three"]
    writer.close()


async def lines_of(reader: asyncio.StreamReader, count: int) -> AsyncIterator[str]:
    """The request ids of the next answers of a connection."""
    for _ in range(count):
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        fields = dict(line.lower().split(": ", 1) for line in head.splitlines()[1:-1])
        await reader.readexactly(int(fields["content-length"]))
        yield fields["x-request-id"]


async def test_a_refused_request_leaves_its_connection_usable(api: Api) -> None:
    """After a 4xx with an unread body the next request on the connection is served."""
    reader, writer = await asyncio.open_connection("127.0.0.1", api.port)
    body = b"x" * 300_000
    refused = (
        f"POST /nothing HTTP/1.1\r\nHost: x\r\nX-Request-ID: first\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    )
    writer.write(refused + body + get("/openapi.yaml", "X-Request-ID: second"))
    assert [line async for line in lines_of(reader, 2)] == ["first", "second"]
    writer.close()


@pytest.mark.parametrize("host", ["relay.example", "xn--", "a%00", "[::1]:80", "user:secret@x"])
async def test_a_whole_url_in_the_request_line_stands_for_its_path(api: Api, host: str) -> None:
    """The absolute form, which RFC 9112 has servers accept, is served whatever host it names."""
    assert (await exchange(api.port, get(f"http://{host}/openapi.yaml"))).status == 200


async def test_redis_away_is_a_503_that_says_when_to_come_back(
    own_redis: RedisServer, start_node: StartNode, connect_api: Callable[[Node], Api]
) -> None:
    """While Redis is away every route that needs it answers 503 in JSON, with Retry-After; never 401, never 500."""
    api = connect_api(await start_node(redis_url=own_redis.url))
    user = await api.register()
    own_redis.kill()
    handshake = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13"}
    answers = {
        "register": await api.call("POST", "/v1/users", json=api.registration("someone", user.device)),
        "login": await api.login(user.name),
        "refresh": await api.refresh(user.refresh_token),
        "upload": await user.upload(user.device.upload(2, [])),
        "bundle": await user.bundle_of(user),
        "send": await user.send(user, b"hello"),
        "connect": await api.call(
            "GET",
            f"/v1/gateway?token={user.token}",
            headers=handshake | {"Sec-WebSocket-Key": KEY},
        ),
        "logout": await user.logout(),
    }
    for name, answer in answers.items():
        assert answer.status == 503, (name, answer)
        assert answer.json == {"error": "Service temporarily unavailable, try again later"}, name
        assert int(answer.headers["Retry-After"]) >= 1, name


async def test_requests_are_counted_by_route_with_their_status(
    node: Node, api: Api, session: aiohttp.ClientSession
) -> None:
    """The counter's labels are a method, a route's template and the status, never a path or a method of a client's."""
    management = Api(session, node.management_port)
    refusals = 'obscura_http_requests_total{method="GET",route="/v1/keys/{userId}",status="400"}'
    before = await metric(management, refusals)
    for junk in ("x", "y", "z"):
        await api.call("GET", f"/v1/keys/{junk}")
        await api.call("GET", f"/unheard-of/{junk}")
        await exchange(api.port, b"UNHEARD-OF / HTTP/1.1\r\n\r\n")
    assert await metric(management, refusals) == before + 3
    text = (await management.call("GET", "/metrics")).body.decode()
    assert "unheard-of" not in text.lower()
    assert 'route="unknown",status="404"' in text
    assert 'route="unknown",status="400"' in text


async def metric(management: Api, name: str) -> float:
    """The value of one time series, 0 if it does not exist yet."""
    text = (await management.call("GET", "/metrics")).body.decode()
    found = re.search(rf"^{re.escape(name)} (\S+)$", text, re.MULTILINE)
    return float(found[1]) if found else 0.0


Serve = Callable[..., Any]


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """Starts a server with one route, POST /, and returns its port."""
    servers: list[HttpServer] = []

    async def start(handler: Callable[[web.Request], Any], **options: Any) -> int:
        server = HttpServer([Route("POST", "/", handler)], ServerOptions(0, 1, **options))
        servers.append(server)
        await server.start("127.0.0.1", 0)
        return server.port

    yield start
    for server in servers:
        await server.stop()


def post(*lines: str, body: bytes = b"") -> bytes:
    return "\r\n".join(["POST / HTTP/1.1", "Host: relay.example", *lines, "", ""]).encode() + body


async def echo(request: web.Request) -> web.Response:
    return web.Response(body=await read_body(request, 100))


@pytest.mark.parametrize("body", [b"", b"half a bo"])
async def test_a_body_that_stops_coming_is_given_up(serve: Serve, body: bytes) -> None:
    """A client that holds back its body gets a 408, so a request is never open for ever."""
    port = await serve(echo, body_idle_timeout_secs=0.05)
    answer = await exchange(port, post("Content-Length: 20", body=body))
    assert answer.status == 408
    assert answer.json == {"error": "The body stopped coming"}


async def test_idle_connections_make_room_for_new_ones(serve: Serve) -> None:
    """The one idle for longest goes first, half a head or not; none that is being served, and none that is in use."""
    port = await serve(echo, max_connections=4)
    busy, used, silent, begun = [await asyncio.open_connection("127.0.0.1", port) for _ in range(4)]
    busy[1].write(post("Content-Length: 4", body=b"bu"))
    begun[1].write(b"POST / HT")
    used[1].write(post("Content-Length: 0"))
    await used[0].readuntil(b"\r\n\r\n")
    for _, gone in (("silent", silent), ("begun", begun)):
        assert (await exchange(port, post("Content-Length: 3", body=b"new"))).body == b"new"
        assert await gone[0].read() == b""
    used[1].write(post("Content-Length: 4", body=b"used"))
    busy[1].write(b"sy")
    for (reader, writer), body in ((used, b"used"), (busy, b"busy")):
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
        assert await reader.readexactly(4) == body
        writer.close()
    silent[1].close()
    begun[1].close()


async def test_of_many_newcomers_at_once_each_gets_its_turn(serve: Serve) -> None:
    """Far more connections than there may be: those that ask something are answered."""
    port = await serve(echo, max_connections=10)
    idle = [await asyncio.open_connection("127.0.0.1", port) for _ in range(100)]
    for _ in range(20):
        assert (await exchange(port, post("Content-Length: 3", body=b"new"))).body == b"new"
    for _, writer in idle:
        writer.close()


async def test_a_connection_too_many_is_told_so(serve: Serve) -> None:
    """While all others are in use a request gets a 503 that says when to come back; afterwards one is served again."""
    port = await serve(echo, max_connections=2)
    busy = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2)]
    before = own_metric("obscura_http_server_errors_total", cause="open files")
    for _, writer in busy:
        writer.write(post("Content-Length: 4", body=b"bu"))
    await eventually(lambda: refusal_of(port))
    refused = await refusal_of(port)
    assert refused
    assert (refused.headers["Retry-After"], refused.headers["Connection"]) == ("5", "close")
    assert own_metric("obscura_http_server_errors_total", cause="open files") > before
    for reader, writer in busy:
        writer.write(b"sy")
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
    assert (await exchange(port, post("Content-Length: 3", body=b"new"))).body == b"new"
    for _, writer in busy:
        writer.close()


async def refusal_of(port: int) -> Answer | None:
    """The 503 of one more connection, if it gets one."""
    answer = await exchange(port, post("Content-Length: 3", body=b"new"))
    return answer if answer.status == 503 and answer.error else None


async def test_a_body_that_comes_in_pieces_is_read_whole(serve: Serve) -> None:
    """What arrives byte by byte is put together, at its limit too."""
    port = await serve(echo)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(post("Expect: 100-continue", "Content-Length: 100"))
    await reader.readuntil(b"\r\n\r\n")
    for number in range(100):
        writer.write(bytes([number]))
        await writer.drain()
    await reader.readuntil(b"\r\n\r\n")
    assert await reader.readexactly(100) == bytes(range(100))
    writer.close()


@pytest.mark.parametrize("size", [99, 100, 101])
async def test_the_limit_of_a_body_is_exact(serve: Serve, size: int) -> None:
    """A body of just the limit is read, one more byte is a 413, declared or in a chunk."""
    port = await serve(echo)
    for request in (
        post(f"Content-Length: {size}", body=bytes(size)),
        post("Transfer-Encoding: chunked", body=b"%x\r\n%s\r\n0\r\n\r\n" % (size, bytes(size))),
    ):
        assert (await exchange(port, request)).status == (200 if size <= 100 else 413)


@pytest.mark.parametrize("begun", [b"", b"POST / HTT", b"POST / HTTP/1.1\r\nHost: x\r\nX-Slow: "])
async def test_a_connection_without_a_request_is_closed(serve: Serve, begun: bytes) -> None:
    """A client that says nothing, or never gets to the end of its head, does not hold a connection for ever."""
    port = await serve(echo, keep_alive_secs=0.05)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(begun)
    async with asyncio.timeout(DEADLINE_SECS):
        assert await reader.read() == b""
    writer.close()


@pytest.mark.parametrize("trickled", [b"GET / HTTP/1.1\r\nX-Slow: ", b"X" * 200])
async def test_a_head_that_trickles_is_cut_off(serve: Serve, trickled: bytes) -> None:
    """A byte now and then does not keep a connection: the time for a head counts from its start."""
    port = await serve(echo, keep_alive_secs=0.1)
    async with asyncio.timeout(DEADLINE_SECS):
        await trickle_until_closed(port, trickled)


async def test_a_body_that_trickles_is_cut_off(serve: Serve) -> None:
    """A byte now and then does not keep a request open: the client gets a 408."""
    port = await serve(echo, body_idle_timeout_secs=0.1)
    async with asyncio.timeout(DEADLINE_SECS):
        received = await trickle_until_closed(port, post("Content-Length: 100", "Connection: close"))
    assert received.startswith(b"HTTP/1.1 408 ")


async def trickle_until_closed(port: int, beginning: bytes) -> bytes:
    """Go on sending single bytes, each well within any wait, until the server closes; returns its answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(beginning)
    received = b""
    with suppress(ConnectionError):  # closed while a byte was under way
        while not reader.at_eof():
            writer.write(b"x")
            with suppress(TimeoutError):
                async with asyncio.timeout(0.02):
                    received += await reader.read(1000)
    writer.close()
    return received


async def fail(_request: web.Request) -> web.Response:
    raise RuntimeError("obscura:{secret} of a user")


async def test_a_fault_of_ours_says_nothing_of_itself(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    """An error that nobody foresaw is a 500 in JSON that tells nothing, and a traceback in the log."""
    answer = await exchange(await serve(fail), post("Content-Length: 0", "X-Request-ID: mine"))
    assert answer.status == 500
    assert answer.json == {"error": "Internal server error"}
    assert answer.headers["x-request-id"] == "mine"
    assert [record.exc_info is not None for record in caplog.records] == [True]


async def fail_half_way(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Length": "1000"})
    await response.prepare(request)
    await response.write(b"the first half")
    raise RuntimeError


async def test_a_fault_in_the_middle_of_an_answer_ends_the_connection(
    serve: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    """An error behind the first byte cuts the answer short; a second one inside it would be read as its body."""
    reader, writer = await asyncio.open_connection("127.0.0.1", await serve(fail_half_way))
    writer.write(post("Content-Length: 0"))
    received = await reader.read()
    assert received.count(b"HTTP/1.1") == 1
    assert received.endswith(b"the first half")
    assert [record.exc_info is not None for record in caplog.records] == [True]
    writer.close()


async def test_a_client_that_leaves_costs_no_word_in_the_log(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    """A connection that ends while its request is served is everyday business, not an error."""
    left = asyncio.Event()

    async def answer_late(request: web.Request) -> web.Response:
        await left.wait()
        return web.Response(body=bytes(1_000_000))

    port = await serve(answer_late)
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(post("Content-Length: 0"))
    await writer.drain()
    writer.transport.abort()
    left.set()
    assert (await exchange(port, post("Content-Length: 0"))).status == 200
    assert caplog.records == []
