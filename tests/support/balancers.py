"""A real haproxy and a real nginx with the files of config/, on free ports, always stopped."""

import asyncio
import os
import re
import shutil
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest

from tests.support.ports import free_port
from tests.support.waiting import eventually

CONFIG = Path(__file__).parents[2] / "config"
_NODES = 2

# The ports of a node: API, management.
Ports = tuple[int, int]
Balance = Callable[[Path, Sequence[Ports]], AbstractAsyncContextManager[int]]


def find_program(name: str) -> str:
    """A program that may be in a folder for the system's own. Without it a test is skipped, and in CI it fails."""
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"])
    found = shutil.which(name, path=path)
    if found is None:
        give_up = pytest.fail if os.environ.get("CI") else pytest.skip
        give_up(f"there is no {name} on this machine")
    return found


def haproxy_environ(port: int, nodes: Sequence[Ports]) -> dict[str, str]:
    """What an operator sets in haproxy's environment."""
    environ = {"OBSCURA_BIND": f"127.0.0.1:{port}"}
    for number, (api_port, management_port) in enumerate(nodes, 1):
        environ |= {f"OBSCURA_NODE_{number}": f"127.0.0.1:{api_port}", f"OBSCURA_MGMT_{number}": str(management_port)}
    return environ


def nginx_config(folder: Path, port: int, nodes: Sequence[Ports]) -> str:
    """nginx.conf with what is marked CHANGE changed, and its temporary files in ``folder``."""
    text = (CONFIG / "nginx.conf").read_text()
    for number, (api_port, _) in enumerate(nodes, 1):
        text = text.replace(f"server node{number}:3000 ", f"server 127.0.0.1:{api_port} ")
    text = text.replace("listen 8080;", f"listen 127.0.0.1:{port};")
    assert not re.search(r"^ *(server node|listen \d+;)", text, re.MULTILINE)
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    paths = "".join(f"    {kind}_temp_path {folder / kind};\n" for kind in kinds)
    return text.replace("http {\n", f"http {{\n{paths}", 1)


@asynccontextmanager
async def haproxy(folder: Path, nodes: Sequence[Ports]) -> AsyncIterator[int]:
    """Run haproxy in front of two nodes; gives the port where clients come in."""
    port = free_port()
    command = [find_program("haproxy"), "-db", "-f", str(CONFIG / "haproxy.cfg")]
    async with _running(folder, command, port, **haproxy_environ(port, nodes)):
        yield port


@asynccontextmanager
async def nginx(folder: Path, nodes: Sequence[Ports]) -> AsyncIterator[int]:
    """Run nginx in front of two nodes; gives the port where clients come in."""
    port = free_port()
    config = folder / "nginx.conf"
    config.write_text(nginx_config(folder, port, nodes))
    directives = f"daemon off; pid {folder / 'nginx.pid'};"
    command = [find_program("nginx"), "-p", str(folder), "-e", "stderr", "-c", str(config), "-g", directives]
    async with _running(folder, command, port):
        yield port


@asynccontextmanager
async def _running(folder: Path, command: list[str], port: int, **environ: str) -> AsyncIterator[None]:
    with (folder / "balancer.log").open("ab") as log:
        process = await asyncio.create_subprocess_exec(*command, env=os.environ | environ, stdout=log, stderr=log)
    try:
        await eventually(lambda: process.returncode is not None or _accepts(port))
        assert process.returncode is None, (folder / "balancer.log").read_text()
        yield
    finally:
        if process.returncode is None:
            process.terminate()  # both cut their connections; nginx ends its workers
        await process.wait()


def _accepts(port: int) -> bool:
    with socket.socket() as connection:
        return connection.connect_ex(("127.0.0.1", port)) == 0
