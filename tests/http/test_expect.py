"""Expect: 100-continue (RFC 9110 section 10.1.1): a body is asked for only when it is wanted."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.conftest import StartNode
from tests.support.client import DEADLINE_SECS, Api, User, encrypted

LIMIT = 1000


class Talk:
    """A connection on which a client waits to be asked for its body."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def head(self, *lines: str) -> tuple[int, str]:
        """Send the head of a request; returns the status and the head of the first answer."""
        self._writer.write("\r\n".join([*lines, "Host: x", "Expect: 100-continue", "", ""]).encode())
        return await self.answer()

    async def body(self, data: bytes) -> tuple[int, str]:
        self._writer.write(data)
        return await self.answer()

    async def answer(self) -> tuple[int, str]:
        async with asyncio.timeout(DEADLINE_SECS):
            head = (await self._reader.readuntil(b"\r\n\r\n")).decode()
        return int(head.split(" ")[1]), head


@asynccontextmanager
async def talk(api: Api) -> AsyncIterator[Talk]:
    reader, writer = await asyncio.open_connection("127.0.0.1", api.port)
    try:
        yield Talk(reader, writer)
    finally:
        writer.close()
        await writer.wait_closed()


@pytest.fixture
async def user(start_node: StartNode, api: Api) -> User:
    node = await start_node(storage_max_size_bytes=LIMIT, max_message_bytes=LIMIT)
    return await Api(api.session, node.api_port).register()


def authorized(user: User) -> str:
    return f"Authorization: Bearer {user.token}"


async def test_a_body_that_is_wanted_is_asked_for(user: User) -> None:
    """100, and then the answer: for JSON, a message and an upload; small letters or not, chunked too."""
    requests = [
        ("POST /v1/attachments HTTP/1.1", "Content-Length: 5", b"hello", 201),
        ("POST /v1/attachments HTTP/1.1", "Transfer-Encoding: chunked", b"5\r\nhello\r\n0\r\n\r\n", 201),
        (f"POST /v1/messages/{user.id} HTTP/1.1", f"Content-Length: {len(encrypted(b'x'))}", encrypted(b"x"), 201),
        ("POST /v1/sessions HTTP/1.1", "Content-Length: 2", b"{}", 400),
    ]
    for line, framing, body, status in requests:
        async with talk(user.api) as client:
            assert (await client.head(line, framing, authorized(user)))[0] == 100, line
            assert (await client.body(body))[0] == status, line


async def test_a_request_that_its_head_refuses_is_told_so_without_a_100(user: User) -> None:
    """Too long, no token, a bad path, compressed, not JSON: the one answer is final, and the connection ends."""
    upload, mine = "POST /v1/attachments HTTP/1.1", authorized(user)
    over, within = f"Content-Length: {LIMIT + 1}", f"Content-Length: {LIMIT}"
    refusals: list[tuple[int, tuple[str, ...]]] = [
        (400, (upload, mine, over)),
        (401, (upload, within)),
        (401, (upload, "Authorization: Bearer x", "Transfer-Encoding: chunked")),
        (415, (upload, mine, within, "Content-Encoding: gzip")),
        (413, (f"POST /v1/messages/{user.id} HTTP/1.1", mine, over)),
        (400, ("POST /v1/messages/x HTTP/1.1", mine, within)),
        (401, (f"POST /v1/messages/{user.id} HTTP/1.1", within)),
        (401, ("POST /v1/keys HTTP/1.1", within)),
        (413, ("POST /v1/users HTTP/1.1", "Content-Length: 99999999")),
        (415, ("POST /v1/sessions HTTP/1.1", within, "Content-Type: text/plain")),
    ]
    for status, lines in refusals:
        async with talk(user.api) as client:
            answered, head = await client.head(*lines)
            assert answered == status, lines
            assert "\r\nConnection: close\r\n" in head, lines


async def test_a_limit_is_told_without_a_100(start_node: StartNode, api: Api) -> None:
    """A client over its limit is not asked for a body that would not be read."""
    node = await start_node(rate_limit_per_second=0.01, rate_limit_burst=1)
    limited = Api(api.session, node.api_port)
    assert (await limited.call("GET", "/openapi.yaml")).status == 200
    async with talk(limited) as client:
        assert (await client.head("POST /v1/attachments HTTP/1.1", "Content-Length: 5"))[0] == 429


async def test_a_client_that_does_not_wait_is_served(user: User) -> None:
    """A body that came with its head is taken, and an older client is never sent a 100."""
    lines = ["POST /v1/attachments HTTP/1.1", authorized(user), "Content-Length: 5", "Host: x", "Expect: 100-continue"]
    for version in ("1.1", "1.0"):
        head = "\r\n".join([*lines, "", ""]).replace("HTTP/1.1", f"HTTP/{version}")
        async with talk(user.api) as client:
            assert (await client.body(head.encode() + b"hello"))[0] == 201
