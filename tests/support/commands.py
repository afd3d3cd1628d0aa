"""`obscura inspect` as an operator runs it, and what a run leaves behind."""

import asyncio
import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DEADLINE_SECS = 60.0


@dataclass
class Run:
    """What a run of the command left behind."""

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


async def shell(*words: str, **settings: object) -> Run:
    """Run the command in a process of its own, with nothing set but ``settings``."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("OBSCURA_")}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "obscura", "inspect", *words),
        cwd=Path(__file__).parents[2],
        env=inherited | {f"OBSCURA_{name.upper()}": str(value) for name, value in settings.items()},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(DEADLINE_SECS):
        output, errors = await process.communicate()
    assert process.returncode is not None
    return Run(process.returncode, output.decode(), errors.decode())
