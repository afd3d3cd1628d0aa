"""A node comes up whole or not at all, and its stop may be asked for more than once."""

import asyncio
import socket
from typing import Any

import pytest

from obscura.errors import StartupError
from obscura.node.node import Node
from tests.conftest import StartNode


@pytest.mark.parametrize("which", ["port", "mgmt_port"])
async def test_a_node_that_cannot_start_leaves_nothing_running(start_node: StartNode, which: str) -> None:
    """Neither a task nor a port, though nearly all of it had started."""
    before = asyncio.all_tasks()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        settings: dict[str, Any] = {which: taken.getsockname()[1]}
        with pytest.raises(StartupError, match=r"^cannot listen on 127\.0\.0\.1 port"):
            await start_node(**settings)
    assert asyncio.all_tasks() == before


async def test_a_second_stop_waits_for_the_first(node: Node) -> None:
    """Whoever asks finds it stopped when they hear."""
    await asyncio.gather(node.stop(), node.stop())
    await node.stop()
    for port in (node.api_port, node.management_port):
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", port)
