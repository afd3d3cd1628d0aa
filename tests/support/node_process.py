"""A node in a process of its own: `python -m obscura serve`, on uvloop where there is one."""

import asyncio
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from tests.support.limits import NO_LIMITS

DEADLINE_SECS = 40.0  # of a start, on a busy machine
ROOT = Path(__file__).parents[2]
COMMAND = (sys.executable, "-m", "obscura", "serve")


def node_environ(**settings: object) -> dict[str, str]:
    """The environment of a node on this machine that limits nobody; keyword arguments are settings, and None is none.

    Without others it picks its ports, and says which.
    """
    values = {"host": "127.0.0.1", "port": 0, "mgmt_port": 0, **NO_LIMITS, **settings}
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("OBSCURA_")}
    return inherited | {f"OBSCURA_{name.upper()}": str(value) for name, value in values.items() if value is not None}


def resident_bytes(pid: int) -> int:
    """What a process holds in memory at this moment."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


class NodeProcess:
    """A running `obscura serve`."""

    def __init__(self, process: asyncio.subprocess.Process, api_port: int, management_port: int) -> None:
        self._process = process
        self.api_port = api_port
        self.management_port = management_port

    @property
    def resident_bytes(self) -> int:
        """What the process holds in memory at this moment."""
        return resident_bytes(self.pid)

    @property
    def pid(self) -> int:
        return self._process.pid

    def terminate(self) -> None:
        """SIGTERM."""
        self._process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL."""
        self._process.kill()

    async def exit_code(self) -> int:
        async with asyncio.timeout(DEADLINE_SECS):
            return await self._process.wait()


@asynccontextmanager
async def serve(
    folder: Path,
    redis_url: str | None,
    jwt_secret: str | None,
    *,
    command: Sequence[str] = COMMAND,
    open_files: int | None = None,
    **settings: object,
) -> AsyncIterator[NodeProcess]:
    """Run `obscura serve` until the block ends; keyword arguments are settings, and None is none.

    Args:
        command: It in another way.
        open_files: It may have no more.
    """
    given = {"data_dir": folder, "redis_url": redis_url, "jwt_secret": jwt_secret, **settings}
    process = await asyncio.create_subprocess_exec(
        *(command if open_files is None else ("/bin/sh", "-c", f'ulimit -n {open_files}; exec "$@"', "sh", *command)),
        cwd=ROOT,
        env=node_environ(**given),
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        ports = []
        async with asyncio.timeout(DEADLINE_SECS):
            for name in ("API", "management"):
                line = (await process.stdout.readline()).decode()
                found = re.fullmatch(rf"{name} on http://127\.0\.0\.1:(\d+)\n", line)
                assert found, line
                ports.append(int(found[1]))
        yield NodeProcess(process, *ports)
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()
