"""How a node opens its ports."""

import asyncio
import socket
from collections.abc import Mapping
from contextlib import AsyncExitStack

import aiohttp
import pytest

from obscura.errors import StartupError
from obscura.node.listening import open_management_port
from obscura.settings.model import Settings

HOST = "127.0.0.1"


async def readiness() -> Mapping[str, str]:
    return {"status": "ok"}


async def metrics() -> bytes:
    return b"# none\n"


async def test_any_free_port_does_for_port_0(session: aiohttp.ClientSession) -> None:
    """It is the one that is returned, and closed with the stack."""
    async with AsyncExitStack() as running:
        port = await open_management_port(Settings(host=HOST, mgmt_port=0), readiness, metrics, running)
        async with session.get(f"http://{HOST}:{port}/metrics") as answer:
            assert await answer.read() == b"# none\n"
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection(HOST, port)


async def test_a_taken_port_is_named() -> None:
    """With the host and the reason, and nothing is left to stop."""
    with socket.create_server((HOST, 0)) as taken:
        port = taken.getsockname()[1]
        async with AsyncExitStack() as running:
            with pytest.raises(StartupError) as caught:
                await open_management_port(Settings(host=HOST, mgmt_port=port), readiness, metrics, running)
    assert str(caught.value) == f"cannot listen on {HOST} port {port}: address already in use"
