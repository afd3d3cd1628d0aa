"""The health check of the image, against nodes that listen here and there."""

import asyncio
import re
import sys
from pathlib import Path

import pytest

from obscura.healthcheck import DEFAULT_HOST, DEFAULT_PORT, check
from obscura.settings.model import Settings
from tests.conftest import StartNode
from tests.support.ports import free_port

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "127.0.0.1", "::1", "::1,127.0.0.1", "localhost"])
async def test_it_follows_the_host_and_the_port(start_node: StartNode, host: str) -> None:
    """Of the environment, as the node does."""
    node = await start_node(host=host)
    environ = {"OBSCURA_HOST": host, "OBSCURA_MGMT_PORT": str(node.management_port)}
    assert await asyncio.to_thread(check, environ) is None


async def test_another_answer_is_no_health(start_node: StartNode) -> None:
    """The API port has no /livez."""
    node = await start_node()
    environ = {"OBSCURA_MGMT_PORT": str(node.api_port)}
    assert await asyncio.to_thread(check, environ) == f"127.0.0.1 port {node.api_port} answers 404"


def test_nothing_set_is_what_the_settings_have() -> None:
    """An empty value is none."""
    assert (Settings().host, str(Settings().mgmt_port)) == (DEFAULT_HOST, DEFAULT_PORT)


async def test_the_image_runs_it(start_node: StartNode) -> None:
    """Its words end with 0 beside a node, and with 1 and a reason where there is none."""
    command = re.findall(r"^HEALTHCHECK .*CMD \[(.+)\]$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)[0]
    python, *words = re.findall(r'"([^"]+)"', command)
    assert python == "python"
    node, nobody = await start_node(), free_port()
    for port, exit_code, errors in (
        (node.management_port, 0, b""),
        (nobody, 1, f"no answer from 127.0.0.1 port {nobody}: [Errno 111] Connection refused\n".encode()),
    ):
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, *words),
            cwd=ROOT / "docs",
            env={"OBSCURA_HOST": "", "OBSCURA_MGMT_PORT": str(port)},
            stderr=asyncio.subprocess.PIPE,
        )
        assert (await process.communicate())[1] == errors
        assert process.returncode == exit_code
