"""The Lua scripts: found, loaded and run by name.

Each lies in ``lua/<name>.lua``; its header says what it does, its KEYS and ARGV, what
it returns, whether a repeat is safe, and whether it counts only once replicas have a
copy. Nothing here repeats a script that may have run: NOSCRIPT alone proves that it did
not.
"""

from collections.abc import Iterable
from hashlib import sha1
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, NamedTuple

import hiredis

from obscura.store.commands import Commands
from obscura.store.link import Argument
from obscura.telemetry import REDIS_SCRIPTS_LOADED, timed
from obscura.tracing import serving


def script_folder() -> Traversable:
    """Where the scripts are: in the installed package, else beside it in a checkout."""
    checkout = Path(__file__).parents[2] / "lua"
    return checkout if checkout.is_dir() else files("obscura.lua")


class _Script(NamedTuple):
    source: bytes
    digest: str
    is_copied: bool

    @classmethod
    def parse(cls, source: bytes) -> "_Script":
        return cls(source, sha1(source, usedforsecurity=False).hexdigest(), b"\n-- Copied: yes" in source)


class Scripts:
    """Runs the scripts of ``lua/``, each where its keys lie."""

    def __init__(self, commands: Commands) -> None:
        self._commands = commands
        self._scripts = {
            file.name.removesuffix(".lua"): _Script.parse(file.read_bytes())
            for file in script_folder().iterdir()
            if file.name.endswith(".lua")
        }

    async def run(self, name: str, keys: Iterable[str], args: Iterable[Argument] = ()) -> Any:
        """Run one script as one atomic step. Survives SCRIPT FLUSH and a server that never had it.

        Args:
            name: Its file name without the ending.
            keys: KEYS, in the order of the header.
            args: ARGV, in the order of the header.

        Raises:
            StoreUnavailable: No reply, or too few copies. The script may have run; its
                header says whether a repeat is safe.
        """
        call = self._run(name, tuple(keys), args)
        if (request := serving.get()) is not None:
            call = request.around(name, {"db.system.name": "redis", "db.stored_procedure.name": name}, call)
        return await timed(name, call)

    async def _run(self, name: str, keys: tuple[str, ...], args: Iterable[Argument]) -> Any:
        script = self._scripts[name]
        call = self._commands.call_copied if script.is_copied else self._commands.call
        try:
            return await call("EVALSHA", script.digest, len(keys), *keys, *args)
        except hiredis.ReplyError as error:
            if not str(error).startswith("NOSCRIPT"):
                raise
        REDIS_SCRIPTS_LOADED.inc()
        return await call("EVAL", script.source, len(keys), *keys, *args)
