"""How a body is read: in small pieces, however fast it comes."""

import os
from collections.abc import AsyncIterator
from io import BytesIO

import aiohttp
import pytest
from aiohttp import web

from obscura.http.bodies import body_chunks
from obscura.http.route import Route
from obscura.http.server import HttpServer, ServerOptions

pytestmark = pytest.mark.libraries

PIECE_BYTES = 65_536
BODY = os.urandom(3_000_000)


@pytest.fixture
async def pieces() -> list[bytes]:
    """What the route of `url` has read of a body."""
    return []


@pytest.fixture
async def url(pieces: list[bytes]) -> AsyncIterator[str]:
    """A route that reads a body by pieces."""

    async def read(request: web.Request) -> web.Response:
        pieces.extend([chunk async for chunk in body_chunks(request)])
        return web.Response(status=201)

    server = HttpServer([Route("POST", "/", read)], ServerOptions(len(BODY), 2.0))
    await server.start("127.0.0.1", 0)
    yield f"http://127.0.0.1:{server.port}/"
    await server.stop()


async def in_parts() -> AsyncIterator[bytes]:
    for start in range(0, len(BODY), 300_000):
        yield BODY[start : start + 300_000]


@pytest.mark.parametrize("is_chunked", [False, True])
async def test_a_body_comes_in_small_pieces(
    url: str, pieces: list[bytes], session: aiohttp.ClientSession, is_chunked: bool
) -> None:
    """So that fifty uploads at once hold fifty pieces in memory, and not all that has arrived of each."""
    async with session.post(url, data=in_parts() if is_chunked else BytesIO(BODY)) as response:
        assert response.status == 201
    assert b"".join(pieces) == BODY
    assert max(map(len, pieces)) <= PIECE_BYTES
