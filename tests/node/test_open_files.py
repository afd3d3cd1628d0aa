"""Where few files may be open, sockets leave room for requests."""

import asyncio
from pathlib import Path

import aiohttp
import pytest

from tests.conftest import JWT_SECRET
from tests.support.client import Api, Socket, encrypted
from tests.support.node_process import serve
from tests.support.redis import RedisServer
from tests.support.scrape import scrape
from tests.support.waiting import eventually

pytestmark = pytest.mark.processes

OPEN_FILES = 256
SOCKETS = 96  # three quarters of the connections, which are half of the files where there are so few


async def test_idle_sockets_keep_nobody_from_sending(
    tmp_path: Path, redis_server: RedisServer, session: aiohttp.ClientSession
) -> None:
    """However many ask for a socket, each request on a connection of its own is served, and refusals are counted."""
    async with serve(tmp_path, redis_server.url, JWT_SECRET, open_files=OPEN_FILES) as node:
        api = Api(session, node.api_port)
        idle, recipient = await api.register(), await api.register()
        sockets: list[Socket] = []
        while isinstance(outcome := await idle.try_connect(), Socket):
            sockets.append(outcome)
        assert (len(sockets), outcome) == (SOCKETS, 503)
        refused = await asyncio.gather(*(idle.try_connect() for _ in range(50)))
        assert set(refused) == {503}
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True)) as fresh:
            for _ in range(40):
                url = f"{api.url}/v1/messages/{recipient.id}"
                headers = {"Authorization": f"Bearer {idle.token}"}
                async with fresh.post(url, data=encrypted(b"hello"), headers=headers) as answer:
                    assert answer.status == 201
        metrics = await scrape(Api(session, node.management_port))
        assert [sample.value for sample in metrics["obscura_gateway_sockets_limit"].samples] == [SOCKETS]
        errors = {
            sample.labels["cause"]: sample.value for sample in metrics["obscura_http_server_errors_total"].samples
        }
        assert {cause: count for cause, count in errors.items() if count} == {"open files": 51}
        await sockets.pop().close()

        async def is_let_in() -> bool:
            outcome = await idle.try_connect()
            if isinstance(outcome, Socket):
                sockets.append(outcome)
            return isinstance(outcome, Socket)

        await eventually(is_let_in)
        await asyncio.gather(*(socket.close() for socket in sockets))
