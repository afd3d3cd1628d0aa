"""The client's HTTP: answers however they arrive, and those that mislead."""

import asyncio
from contextlib import suppress

import pytest

from obscura.client.errors import ExchangeError, NotSentError
from obscura.client.http import HttpConnection, Traffic, bearer, json_request, request_head
from obscura.client.target import Target
from tests.client.servers import Handler, answering, one_by_one, serving

pytestmark = pytest.mark.libraries


@pytest.mark.parametrize(
    ("raw", "status", "body"),
    [
        (b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n", 201, b""),
        (b"HTTP/1.1 200 OK\r\ncontent-length:5\r\n\r\nhello", 200, b"hello"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", 204, b""),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", 200, b"ok"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n1\r\n!\r\n0\r\n\r\n", 200, b"hello!"),
    ],
)
async def test_an_answer_is_read_however_it_arrives(raw: bytes, status: int, body: bytes) -> None:
    """Whole or byte by byte, and the connection is kept for the next one."""
    for parts in ([raw], one_by_one(raw)):
        async with serving(answering(*parts)) as target:
            http = HttpConnection(target, Traffic(), 5)
            for _ in range(2):
                reply = await http.exchange(request_head(target, "GET", "/"))
                assert (reply.status, reply.body) == (status, body)
            http.close()


@pytest.mark.parametrize(
    ("handler", "kind"),
    [
        (answering(b"nonsense\r\n\r\n"), "answer is no HTTP"),
        (answering(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort"), "timeout"),
    ],
)
async def test_a_wrong_answer_has_its_kind(handler: Handler, kind: str) -> None:
    async with serving(handler) as target:
        http = HttpConnection(target, Traffic(), 0.2)
        with pytest.raises(ExchangeError, match=kind):
            await http.exchange(request_head(target, "GET", "/"))
        http.close()


async def test_a_connection_that_was_closed_opens_again() -> None:
    """A server may close a kept connection after an answer."""

    async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(65_536)
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()

    async with serving(once) as target:
        http = HttpConnection(target, Traffic(), 5)
        for _ in range(3):
            assert (await http.exchange(request_head(target, "GET", "/"))).status == 200
        http.close()


async def test_a_request_that_is_cancelled_costs_its_connection() -> None:
    """Else the next request on it would get the answer to that one."""
    requests: list[bytes] = []

    async def late(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while request := await reader.read(65_536):
            requests.append(request)
            await asyncio.sleep(0.05)
            path = request.split()[1]
            with suppress(ConnectionError):
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(path) + path)
                await writer.drain()

    async with serving(late) as target:
        http = HttpConnection(target, Traffic(), 5)
        first = asyncio.create_task(http.exchange(request_head(target, "GET", "/first")))
        while not requests:  # noqa: ASYNC110  it is soon there
            await asyncio.sleep(0.001)
        first.cancel()
        with suppress(asyncio.CancelledError):
            await first
        assert (await http.exchange(request_head(target, "GET", "/second"))).body == b"/second"
        http.close()


async def test_where_nobody_listens_nothing_was_sent() -> None:
    """Who made the request may make it elsewhere, whatever it was."""
    target = Target("127.0.0.1", 1, tls=False)
    with pytest.raises(NotSentError, match="no connection: "):
        await HttpConnection(target, Traffic(), 5).exchange(request_head(target, "GET", "/"))


async def test_an_answer_has_its_headers() -> None:
    """Names in lower case; what the server asks to wait is a number."""
    raw = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 7\r\nContent-Length: 2\r\n\r\n{}"
    async with serving(answering(raw)) as target:
        http = HttpConnection(target, traffic := Traffic(), 5)
        reply = await http.exchange(request := request_head(target, "GET", "/"))
        http.close()
    assert reply.headers == {b"retry-after": b"7", b"content-length": b"2"}
    assert (reply.retry_after_secs, reply.json()) == (7, {})
    assert (traffic.sent, traffic.received) == (len(request), len(raw))
    with pytest.raises(ExchangeError, match="HTTP 503"):
        reply.expect(200)


def test_a_request_is_built_as_it_is_sent() -> None:
    """RFC 9112 section 3: a request line, headers, an empty line, and the body."""
    built = json_request(Target("host", 80, tls=False), "POST", "/path", {"a": 1}, bearer("secret"))
    assert built == (
        b"POST /path HTTP/1.1\r\nHost: host:80\r\nContent-Length: 8\r\nContent-Type: application/json\r\n"
        b'Authorization: Bearer secret\r\n\r\n{"a": 1}'
    )
