"""Nodes as processes of their own, on ports that they keep over a restart, and haproxy in front of them."""

import asyncio
import json
import os
import re
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from obscura.client.errors import ExchangeError
from tests.faults.http import ask_once
from tests.support.balancers import CONFIG, find_program, haproxy_environ
from tests.support.node_process import COMMAND, ROOT, node_environ, resident_bytes
from tests.support.ports import free_port
from tests.support.waiting import eventually

JWT_SECRET = "a secret of the fault suite that is long enough"
START_SECS = 30.0


class ServedNode:
    """One `obscura serve`.

    Args:
        folder: For its data and its log; made if need be.
        settings: Of the server, by name; they come before those of all nodes.
    """

    def __init__(self, name: str, folder: Path, redis_url: str, **settings: object) -> None:
        self.name = name
        self.port, self.management_port = free_port(), free_port()
        self._folder = folder
        self._log = folder / f"{name}.log"
        self._values = {
            "port": self.port,
            "mgmt_port": self.management_port,
            "data_dir": folder / name,
            "redis_url": redis_url,
            "jwt_secret": JWT_SECRET,
            **settings,
        }
        self._process: asyncio.subprocess.Process | None = None

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.returncode is None

    def change(self, **settings: object) -> dict[str, object]:
        """Other settings from the next start on; returns those they replace."""
        before = {name: self._values[name] for name in settings}
        self._values |= settings
        return before

    async def start(self) -> None:
        """Start, and wait until it is ready."""
        (self._folder / self.name).mkdir(parents=True, exist_ok=True)
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *COMMAND,
                cwd=ROOT,
                env=node_environ(**self._values),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        await eventually(self._is_up, START_SECS)

    async def _is_up(self) -> bool:
        assert self.is_running, self.log
        return await self.is_ready()

    @property
    def log(self) -> str:
        """What it wrote so far, in all its lives."""
        return self._log.read_text()

    def signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    async def kill(self) -> None:
        """kill -9."""
        self.signal(signal.SIGKILL)
        await self.wait()

    async def terminate(self) -> int:
        """SIGTERM; returns the exit code."""
        self.signal(signal.SIGTERM)
        return await self.wait()

    async def wait(self) -> int:
        assert self._process is not None
        async with asyncio.timeout(START_SECS):
            return await self._process.wait()

    async def remove(self) -> None:
        if self.is_running:
            await self.kill()

    async def readiness(self) -> tuple[int, dict[str, Any]]:
        """What /readyz says; status 0 if nobody answers."""
        try:
            reply = await ask_once(self.management_port, "GET", "/readyz")
        except ExchangeError:
            return 0, {}
        return reply.status, json.loads(reply.body)

    async def is_ready(self) -> bool:
        return (await self.readiness())[0] == 200

    async def metric(self, name: str) -> float:
        """The sum of a metric over its labels."""
        text = (await ask_once(self.management_port, "GET", "/metrics")).body.decode()
        values = re.findall(rf"^{name}(?:\{{[^}}]*\}})? (\S+)$", text, re.MULTILINE)
        return sum(map(float, values))

    @property
    def resident_bytes(self) -> int:
        assert self._process is not None
        return resident_bytes(self._process.pid)

    @property
    def open_files(self) -> int:
        assert self._process is not None
        return len(os.listdir(f"/proc/{self._process.pid}/fd"))


@asynccontextmanager
async def haproxy(folder: Path, nodes: Sequence[ServedNode]) -> AsyncIterator[int]:
    """Run haproxy with the configuration that operators get, in front of any number of nodes; gives its port."""
    port = free_port()
    ports = [(node.port, node.management_port) for node in nodes]
    more = [
        f'    server node{number} "${{OBSCURA_NODE_{number}}}" port "${{OBSCURA_MGMT_{number}}}"\n'
        for number in range(3, len(nodes) + 1)
    ]
    config = folder / "haproxy.cfg"
    config.write_text((CONFIG / "haproxy.cfg").read_text() + "".join(more))
    with (folder / "haproxy.log").open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            *(find_program("haproxy"), "-db", "-f", str(config)),
            env=os.environ | haproxy_environ(port, ports),
            stdout=log,
            stderr=log,
        )
    try:
        await eventually(lambda: _accepts(port))
        yield port
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def _accepts(port: int) -> bool:
    try:
        return (await ask_once(port, "GET", "/openapi.yaml")).status == 200
    except ExchangeError:
        return False
