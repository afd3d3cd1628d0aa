"""How a node opens its ports."""

import asyncio
import re
import socket
from collections.abc import Mapping
from contextlib import AsyncExitStack, suppress

import aiohttp
import pytest

from obscura.errors import StartupError
from obscura.node.listening import open_management_port
from obscura.settings.model import Settings

HOST = "127.0.0.1"
HOSTS = {"::": [HOST, "[::1]"], "0.0.0.0,::": [HOST, "[::1]"], "127.0.0.1, [::1]": [HOST, "[::1]"], "::1": ["[::1]"]}


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


@pytest.mark.parametrize("hosts", HOSTS)
async def test_every_address_of_the_hosts_is_served_on_one_port(session: aiohttp.ClientSession, hosts: str) -> None:
    """``::`` is IPv6 and IPv4, a list is all that is in it, and none is left open at the end."""
    async with AsyncExitStack() as running:
        port = await open_management_port(Settings(host=hosts, mgmt_port=0), readiness, metrics, running)
        for host in HOSTS[hosts]:
            async with session.get(f"http://{host}:{port}/metrics") as answer:
                assert await answer.read() == b"# none\n", host
        with suppress(ConnectionRefusedError):
            _, writer = await asyncio.open_connection(HOST, port)
            writer.close()
            assert HOST in HOSTS[hosts]
    for host in HOSTS[hosts]:
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(host.strip("[]"), port)


@pytest.mark.parametrize(
    ("host", "reason"),
    [("nobody.invalid", ".*name.*"), ("192.0.2.1", "cannot assign requested address")],
)
async def test_a_host_that_cannot_be_listened_on_is_told_in_words(host: str, reason: str) -> None:
    """The system's own, also those for names, which have numbers of their own."""
    async with AsyncExitStack() as running:
        with pytest.raises(StartupError) as caught:
            await open_management_port(Settings(host=f"{HOST},{host}", mgmt_port=0), readiness, metrics, running)
    assert re.fullmatch(rf"cannot listen on {HOST},{host} port 0: {reason}", str(caught.value)), caught.value
