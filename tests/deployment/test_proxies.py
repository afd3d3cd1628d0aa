"""Two nodes behind the haproxy and the nginx that the files of config/ make."""

import asyncio
import os
import re
import subprocess
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from io import BytesIO
from pathlib import Path

import aiohttp
import pytest

from obscura.settings.model import SETTINGS
from tests.conftest import JWT_SECRET
from tests.support.balancers import (
    CONFIG,
    Balance,
    Ports,
    find_program,
    haproxy,
    haproxy_environ,
    nginx,
    nginx_config,
)
from tests.support.client import Api, encrypted
from tests.support.node_process import NodeProcess, serve
from tests.support.ports import free_port
from tests.support.redis import RedisServer
from tests.support.waiting import eventually

pytestmark = pytest.mark.processes

MAX_MESSAGE_BYTES = int(SETTINGS["max_message_bytes"].default)
WORKERS = 8
ANSWERS_AFTER_THE_STOP = 100
LIMITS = re.compile(r"(auth_|bundle_)?rate_limit_(burst|per_second|per_minute)")
NO_LIMITS = {name: 1_000_000 for name in SETTINGS if LIMITS.fullmatch(name)}

both = pytest.mark.parametrize("balance", [haproxy, nginx])


@pytest.fixture
async def nodes(redis_server: RedisServer, tmp_path: Path) -> AsyncIterator[list[NodeProcess]]:
    """Two nodes, each a process of its own."""
    async with AsyncExitStack() as running:
        contexts = [serve(tmp_path, redis_server.url, JWT_SECRET, **NO_LIMITS) for _ in range(2)]
        yield list(await asyncio.gather(*map(running.enter_async_context, contexts)))


def ports(nodes: list[NodeProcess]) -> list[Ports]:
    return [(node.api_port, node.management_port) for node in nodes]


async def is_open(api: Api) -> bool:
    """Whether the balancer has found a node."""
    return (await api.call("GET", "/openapi.yaml")).status == 200


@both
async def test_a_conversation(
    balance: Balance, nodes: list[NodeProcess], tmp_path: Path, session: aiohttp.ClientSession
) -> None:
    """Accounts, sockets and messages of any size pass, whichever node each of them meets."""
    async with balance(tmp_path, ports(nodes)) as port:
        api = Api(session, port)
        await eventually(lambda: is_open(api))
        alice, bob = await api.register(), await api.register()
        socket = await bob.connect()
        sent = [b"through the balancer", b"through one node", b"through the other"]
        for way, content in zip([api, *(Api(session, node.api_port) for node in nodes)], sent, strict=True):
            await alice.at(way).deliver(bob, content)
        large = os.urandom(MAX_MESSAGE_BYTES - len(encrypted(bytes(2**20))) + 2**20 - 1)
        body = BytesIO(encrypted(large))
        answer = await api.call("POST", f"/v1/messages/{bob.id}", token=alice.token, data=body)
        assert answer.status == 201, answer
        received = await socket.envelopes(4)
        assert [envelope.message.content for envelope in received] == [*sent, large]
        await socket.ack(*received)
        await socket.close()
        assert (await alice.bundle_of(bob)).status == 200


@both
async def test_a_node_that_stops_fails_no_request(
    balance: Balance, nodes: list[NodeProcess], tmp_path: Path, session: aiohttp.ClientSession
) -> None:
    """Under load, through a SIGTERM and after it: every message is stored, and sockets find the other node."""
    async with balance(tmp_path, ports(nodes)) as port:
        api = Api(session, port)
        await eventually(lambda: is_open(api))
        alice, bob = await api.register(), await api.register()
        sockets = [await bob.at(Api(session, node.api_port)).connect() for node in nodes]
        statuses: list[int] = []
        done = asyncio.Event()

        async def send() -> None:
            while not done.is_set():
                statuses.append((await alice.send(bob, b"one of many")).status)

        async with asyncio.TaskGroup() as senders:
            for _ in range(WORKERS):
                senders.create_task(send())
            await eventually(lambda: len(statuses) > WORKERS)
            nodes[0].terminate()
            assert await sockets[0].close_code() == 1001
            assert await nodes[0].exit_code() == 0
            until = len(statuses) + ANSWERS_AFTER_THE_STOP
            await eventually(lambda: len(statuses) > until)
            done.set()
        assert set(statuses) == {201}
        again = await bob.connect()
        assert (await again.envelope()).message.content == b"one of many"
        for socket in (again, sockets[1]):
            await socket.close()


class Recorder:
    """In the place of a node: answers everything with 200 and keeps the heads of the requests."""

    def __init__(self) -> None:
        self.heads: list[str] = []

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            self.heads.append((await reader.readuntil(b"\r\n\r\n")).decode())
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            await writer.drain()
        except asyncio.IncompleteReadError:
            pass  # connected and gone, as a health check may
        finally:
            writer.close()


@both
async def test_a_client_cannot_choose_its_address(
    balance: Balance, tmp_path: Path, session: aiohttp.ClientSession
) -> None:
    """What a client claims is replaced by where it comes from, in one line."""
    recorder = Recorder()
    server = await asyncio.start_server(recorder.answer, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server, balance(tmp_path, [(port, port)] * 2) as balancer_port:
        api = Api(session, balancer_port)
        await eventually(lambda: is_open(api))
        claims = [
            ("X-Forwarded-For", "198.51.100.1"),
            ("X-Forwarded-For", "198.51.100.2"),
            ("Forwarded", "for=192.0.2.1"),
        ]
        async with session.get(f"{api.url}/v1/keys/claimed", headers=claims) as answer:
            assert answer.status == 200
    (head,) = [head for head in recorder.heads if "/v1/keys/claimed" in head]
    forwarded = [line.lower() for line in head.splitlines() if "forwarded" in line.lower()]
    assert sorted(forwarded) == ["x-forwarded-for: 127.0.0.1", "x-forwarded-proto: http"]


@both
async def test_no_token_is_in_the_log(
    balance: Balance, nodes: list[NodeProcess], tmp_path: Path, session: aiohttp.ClientSession
) -> None:
    """The query string of the gateway stays out of what a balancer writes, also when it is refused."""
    async with balance(tmp_path, ports(nodes)) as port:
        api = Api(session, port)
        await eventually(lambda: is_open(api))
        answer = await api.call("GET", "/v1/gateway?token=confidential")
        assert answer.status in {400, 401}
        log = tmp_path / "balancer.log"
        await eventually(lambda: f" {answer.status} " in log.read_text() or balance is haproxy)
    assert "confidential" not in log.read_text()


def test_haproxy_takes_its_file() -> None:
    """Without a warning, with addresses for names that only an operator's network knows."""
    environ = os.environ | haproxy_environ(free_port(), [(3000, 9090), (3001, 9091)])
    command = [find_program("haproxy"), "-c", "-f", str(CONFIG / "haproxy.cfg")]
    checked = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stderr
    assert "WARNING" not in checked.stderr


def test_nginx_takes_its_file(tmp_path: Path) -> None:
    """As it will be run."""
    config = tmp_path / "nginx.conf"
    config.write_text(nginx_config(tmp_path, free_port(), [(3000, 9090), (3001, 9091)]))
    command = [find_program("nginx"), "-t", "-p", str(tmp_path), "-e", "stderr", "-c", str(config)]
    checked = subprocess.run(
        [*command, "-g", f"pid {tmp_path / 'nginx.pid'};"], capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stderr
