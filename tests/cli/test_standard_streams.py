"""A node whose standard input, output or error is closed, full, or read by nobody: it serves, and stops as ever."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.conftest import JWT_SECRET
from tests.support.client import Api
from tests.support.node_process import COMMAND, DEADLINE_SECS, ROOT, node_environ
from tests.support.ports import free_port
from tests.support.redis import RedisServer
from tests.support.scrape import scrape
from tests.support.waiting import eventually

START_SECS = 40.0  # of a busy machine

several = pytest.mark.parametrize("workers", [1, 2])


class Served:
    """A node that serves, whatever becomes of what it says."""

    def __init__(self, process: asyncio.subprocess.Process, session: aiohttp.ClientSession, ports: tuple[int, int]):
        self.process = process
        self.api, self.management = (Api(session, port) for port in ports)

    async def is_ready(self) -> bool:
        assert self.process.returncode is None, "it has ended"
        with suppress(aiohttp.ClientConnectionError):
            return (await self.management.call("GET", "/readyz")).status == 200
        return False

    async def exit_code(self) -> int:
        async with asyncio.timeout(DEADLINE_SECS):
            return await self.process.wait()


@pytest.fixture
def settings(redis_server: RedisServer, tmp_path: Path) -> dict[str, object]:
    return {"data_dir": tmp_path, "redis_url": redis_server.url, "jwt_secret": JWT_SECRET, "shutdown_timeout_secs": 2}


@asynccontextmanager
async def served(
    session: aiohttp.ClientSession, settings: dict[str, object], redirection: str = "", **files: Any
) -> AsyncIterator[Served]:
    """Run a node, with what a shell or ``files`` make of its descriptors, and stop it: the exit code is to be 0."""
    ports = free_port(), free_port()
    environ = node_environ(**settings, port=ports[0], mgmt_port=ports[1])
    command = ("/bin/sh", "-c", f'exec "$@" {redirection}', "sh", *COMMAND)
    process = await asyncio.create_subprocess_exec(
        *command, cwd=ROOT, env=environ, stdin=asyncio.subprocess.DEVNULL, **files
    )
    try:
        node = Served(process, session, ports)
        await eventually(node.is_ready, START_SECS)
        yield node
        process.terminate()
        assert await node.exit_code() == 0
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


@pytest.mark.parametrize(
    ("redirection", "workers"), [("<&-", 1), (">&-", 1), ("2>&-", 1), ("<&- >&- 2>&-", 1), ("<&- >&- 2>&-", 2)]
)
async def test_it_serves_with_descriptors_closed(
    session: aiohttp.ClientSession, settings: dict[str, object], redirection: str, workers: int
) -> None:
    """As services are started by some supervisors: none of its own files and sockets gets such a number."""
    async with served(session, settings | {"workers": workers}, redirection) as node:
        alice, bob = await node.api.register(), await node.api.register()
        socket = await bob.connect()
        await alice.deliver(bob, b"message")
        assert (await socket.envelope()).message.content == b"message"
        if sys.platform == "linux":
            used = [os.readlink(f"/proc/{node.process.pid}/fd/{number}") for number in range(3)]
            assert used.count("/dev/null") >= redirection.count("&-")


async def test_its_own_redis_starts_with_descriptors_closed(
    session: aiohttp.ClientSession, settings: dict[str, object]
) -> None:
    """Children inherit what was opened in their place."""
    own = settings | {"redis_url": None, "jwt_secret": None}
    async with served(session, own, "<&- >&- 2>&-") as node:
        await node.api.register()


@several
@pytest.mark.skipif(sys.platform != "linux", reason="/dev/full")
async def test_a_full_disk_behind_its_output_ends_nothing(
    session: aiohttp.ClientSession, settings: dict[str, object], workers: int
) -> None:
    """Neither the announcement nor the log is worth a node; what is lost is counted."""
    async with served(session, settings | {"workers": workers}, ">/dev/full 2>&1") as node:
        await node.api.register()
        (dropped,) = (await scrape(node.management))["obscura_log_lines_dropped_total"].samples
        assert dropped.value >= 3


@several
async def test_output_that_nobody_reads_holds_up_nothing(
    session: aiohttp.ClientSession, settings: dict[str, object], workers: int
) -> None:
    """At debug, with a full pipe behind both: requests and health are answered, and SIGTERM ends it."""
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    with suppress(BlockingIOError):
        while True:
            os.write(writer, b"x" * 4096)
    os.set_blocking(writer, True)
    try:
        asked = settings | {"workers": workers, "log_level": "debug"}
        async with served(session, asked, stdout=writer, stderr=writer) as node:
            for _ in range(50):
                assert (await node.api.call("GET", "/openapi.yaml")).status == 200
            assert (await node.management.call("GET", "/livez")).status == 200
    finally:
        os.close(writer)
        os.close(reader)


async def test_what_was_logged_last_is_written_before_the_end(tmp_path: Path) -> None:
    """A refusal stands where it is looked for, also when it comes with log lines."""
    process = await asyncio.create_subprocess_exec(
        *COMMAND, "--port", "http", cwd=ROOT, env=node_environ(port=None), stderr=asyncio.subprocess.PIPE
    )
    _, errors = await process.communicate()
    assert (process.returncode, errors) == (
        1,
        b"obscura: --port must be a whole number from 0 up to 65535, not 'http'\n",
    )
