"""Floods: what one client sends without end costs the node little."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.conftest import JWT_SECRET
from tests.faults import floods
from tests.support.client import exchange
from tests.support.node_process import NodeProcess, serve
from tests.support.redis import RedisServer

_AT_ONCE = 10
_ROUNDS = 20
_KEPT = 300


@pytest.fixture
async def served(redis_server: RedisServer, tmp_path: Path) -> AsyncIterator[NodeProcess]:
    """A node in a process of its own, to watch its memory."""
    async with serve(tmp_path, redis_server.url, JWT_SECRET) as served:
        yield served


@pytest.mark.real_start
async def test_heads_that_are_too_long_leave_nothing_behind(served: NodeProcess) -> None:
    """200 heads of a megabyte, ten at a time: each is refused, and what comes behind the refused part is not kept."""
    request = b"GET / HTTP/1.1\r\nHost: relay\r\nX-Long: " + b"a" * 1_000_000 + b"\r\n\r\n"
    before = served.resident_bytes
    for _ in range(_ROUNDS):
        answers = await asyncio.gather(*(exchange(served.api_port, request) for _ in range(_AT_ONCE)))
        assert {answer.status for answer in answers} <= {400, 0}  # 0: the reset overtook the answer
    assert served.resident_bytes - before < 25_000_000


@pytest.mark.real_start
async def test_a_kept_connection_keeps_no_answer(served: NodeProcess) -> None:
    """Each of 300 has asked for the longest document there is, and stays: none holds a copy of it."""
    request = b"GET /openapi.yaml HTTP/1.1\r\nHost: relay\r\n\r\n"
    before = served.resident_bytes
    connections = [await asyncio.to_thread(floods.answered, served.api_port, request) for _ in range(_KEPT)]
    try:
        assert served.resident_bytes - before < _KEPT * 15_000
    finally:
        for connection in connections:
            connection.close()
