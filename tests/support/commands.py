"""Commands as an operator runs them, each in a process of its own, and what a run leaves behind."""

import asyncio
import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DEADLINE_SECS = 50.0
ROOT = Path(__file__).parents[2]
OBSCURA = (sys.executable, "-m", "obscura")


@dataclass
class Run:
    """What a run of a command left behind."""

    exit_code: int
    output: str
    errors: str

    @property
    def json(self) -> Any:
        assert self.exit_code == 0, self.errors
        return json.loads(self.output)

    @property
    def refusal(self) -> str:
        """The one sentence of a run that was refused."""
        assert (self.exit_code, self.output) == (1, "")
        (line,) = self.errors.splitlines()
        return line.removeprefix("obscura: ")


async def run(
    *command: str,
    folder: Path = ROOT,
    environ: Mapping[str, str] = os.environ,
    is_merged: bool = False,
    deadline_secs: float = DEADLINE_SECS,
) -> Run:
    """Run a command to its end, without input; one that takes too long is killed, and fails.

    Args:
        is_merged: Whether what it writes to its standard error is to be among its output, in order.
    """
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=folder,
        env=environ,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT if is_merged else asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(deadline_secs):
            output, errors = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode is not None
    return Run(process.returncode, output.decode(), (errors or b"").decode())


async def run_inspect(*words: str, **settings: object) -> Run:
    """Run `obscura inspect` with nothing set but ``settings``."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("OBSCURA_")}
    environ = inherited | {f"OBSCURA_{name.upper()}": str(value) for name, value in settings.items()}
    return await run(*OBSCURA, "inspect", *words, environ=environ)
