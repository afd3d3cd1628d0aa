"""Clients that say with a FIN that they send nothing more, and wait for the answer: `nc -N`, small libraries."""

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from obscura.client.websocket import new_key, upgrade_request
from obscura.http.bodies import read_body
from obscura.http.route import Route
from obscura.http.server import HttpServer, ServerOptions
from tests.conftest import JWT_SECRET
from tests.support.client import DEADLINE_SECS, Api, encrypted
from tests.support.node_process import serve as serve_node
from tests.support.redis import RedisServer

pytestmark = pytest.mark.libraries

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


async def last_words(port: int, sent: bytes) -> bytes:
    """Send bytes and a FIN behind them, and read all that comes until the server closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        async with asyncio.timeout(DEADLINE_SECS):
            writer.write(sent)
            writer.write_eof()
            return await reader.read()
    except ConnectionError:
        return b""
    finally:
        writer.transport.abort()


def statuses(answers: bytes) -> list[int]:
    """Those of answers in a row, none of whose bodies looks like one."""
    return [int(status) for status in re.findall(rb"HTTP/1\.[01] (\d{3}) ", answers)]


class Gate:
    """A handler that counts its calls, and waits in each until it is opened."""

    def __init__(self) -> None:
        self.calls = 0
        self.entered = asyncio.Event()
        self.opened = asyncio.Event()

    async def handle(self, request: web.Request) -> web.Response:
        self.calls += 1
        self.entered.set()
        body = await read_body(request, 1_000_000)
        await self.opened.wait()
        return web.Response(text=f"{self.calls} {len(body)}")


@asynccontextmanager
async def serving(gate: Gate) -> AsyncIterator[int]:
    routes = [Route("GET", "/", gate.handle), Route("POST", "/", gate.handle)]
    server = HttpServer(routes, ServerOptions(max_body_bytes=1_000_000, stop_timeout_secs=1))
    await server.start("127.0.0.1", 0)
    try:
        yield server.port
    finally:
        await server.stop()


@pytest.fixture
async def gate() -> Gate:
    return Gate()


@pytest.fixture
async def port(gate: Gate) -> AsyncIterator[int]:
    async with serving(gate) as port:
        yield port


async def test_the_answer_comes_after_the_end_and_then_the_close(gate: Gate, port: int) -> None:
    """It says that its connection ends, and nothing follows."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(GET)
    await gate.entered.wait()
    writer.write_eof()
    await last_words(port, b"")  # the server hears of one end after the other
    gate.opened.set()
    async with asyncio.timeout(DEADLINE_SECS):
        answer = await reader.read()
    writer.close()
    assert statuses(answer) == [200]
    assert b"Connection: close\r\n" in answer
    assert answer.endswith(b"\r\n\r\n1 0")


@pytest.mark.parametrize("body_bytes", [0, 10, 900_000])
async def test_a_request_whose_body_came_before_the_end_is_answered(gate: Gate, port: int, body_bytes: int) -> None:
    """However much of it waits to be read."""
    gate.opened.set()
    request = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % body_bytes
    answer = await last_words(port, request + b"x" * body_bytes)
    assert statuses(answer) == [200]
    assert answer.endswith(b"1 %d" % body_bytes)


async def test_every_request_before_the_end_is_answered(gate: Gate, port: int) -> None:
    """Of many on one connection the last one's answer closes it."""
    gate.opened.set()
    answers = await last_words(port, GET * 30)
    assert (statuses(answers), gate.calls) == ([200] * 30, 30)
    assert answers.count(b"Connection: close\r\n") == 1


@pytest.mark.parametrize("begun", [b"GET / HT", b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n12345678"])
async def test_what_was_left_unfinished_is_not_answered(gate: Gate, port: int, begun: bytes) -> None:
    """A request that broke off ends its connection, behind the answers to those before it."""
    gate.opened.set()
    assert await last_words(port, begun) == b""
    answers = await last_words(port, GET + GET + begun)
    assert statuses(answers) == [200] * 2


async def test_an_end_without_a_request_closes(port: int) -> None:
    """Nothing is waited for."""
    assert await last_words(port, b"") == b""


async def test_what_is_no_http_is_answered_too(port: int) -> None:
    """With the 400 that it gets otherwise."""
    assert statuses(await last_words(port, b"HELO x\r\n\r\n")) == [400]


async def test_a_client_that_is_gone_altogether_holds_no_connection(gate: Gate, port: int) -> None:
    """It looks the same until its answer is written."""
    async with asyncio.timeout(DEADLINE_SECS):
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(GET)
        await gate.entered.wait()
        writer.close()
        await writer.wait_closed()
        gate.opened.set()
    assert statuses(await last_words(port, GET)) == [200]


async def test_messages_of_half_closed_clients_are_stored_and_answered(
    tmp_path: Path, redis_server: RedisServer, session: aiohttp.ClientSession
) -> None:
    """Of a node as it is run, on its own event loop: 20 of 20 answers, large bodies both ways, an upgrade."""
    async with serve_node(tmp_path, redis_server.url, JWT_SECRET) as node:
        api = Api(session, node.api_port)
        user = await api.register()
        head = f"POST /v1/messages/{user.id} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {user.token}\r\n"
        body = encrypted(b"hello")
        send = f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
        answers = await asyncio.gather(*(last_words(node.api_port, send) for _ in range(20)))
        assert [statuses(answer) for answer in answers] == [[201]] * 20
        content = bytes(range(256)) * 20_000
        head = f"Host: x\r\nAuthorization: Bearer {user.token}\r\n"
        upload = f"POST /v1/attachments HTTP/1.1\r\n{head}Content-Length: {len(content)}\r\n\r\n".encode() + content
        stored = await last_words(node.api_port, upload)
        assert statuses(stored) == [201]
        attachment_id = json.loads(stored.partition(b"\r\n\r\n")[2])["id"]
        fetched = await last_words(
            node.api_port, f"GET /v1/attachments/{attachment_id} HTTP/1.1\r\n{head}\r\n".encode()
        )
        assert fetched.partition(b"\r\n\r\n")[2] == content
        refused = await last_words(node.api_port, upgrade_request("x", "/v1/gateway?token=x", new_key(), {}))
        assert statuses(refused) == [401]
        upgrade = upgrade_request("x", f"/v1/gateway?token={user.token}", new_key(), {})
        assert statuses(await last_words(node.api_port, upgrade)) == [101]
