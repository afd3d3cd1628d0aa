"""The Lua scripts: found, loaded and run by name.

Each lies in ``lua/<name>.lua``; its header says what it does, its KEYS and ARGV, what
it returns and whether a repeat is safe. Nothing here repeats a script that may have
run: NOSCRIPT alone proves that it did not.
"""

from collections.abc import Iterable
from hashlib import sha1
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

import hiredis

from obscura.store.connection import Argument, Connection
from obscura.telemetry import timed
from obscura.tracing import serving


def script_folder() -> Traversable:
    """Where the scripts are: in the installed package, else beside it in a checkout."""
    checkout = Path(__file__).parents[2] / "lua"
    return checkout if checkout.is_dir() else files("obscura.lua")


class Scripts:
    """Runs the scripts of ``lua/`` on one connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._sources = {
            file.name.removesuffix(".lua"): file.read_bytes()
            for file in script_folder().iterdir()
            if file.name.endswith(".lua")
        }
        self._digests = {
            name: sha1(source, usedforsecurity=False).hexdigest() for name, source in self._sources.items()
        }

    async def run(self, name: str, keys: Iterable[str], args: Iterable[Argument] = ()) -> Any:
        """Run one script as one atomic step. Survives SCRIPT FLUSH and a server that never had it.

        Args:
            name: Its file name without the ending.
            keys: KEYS, in the order of the header.
            args: ARGV, in the order of the header.

        Raises:
            StoreUnavailable: No reply. The script may have run; its header says whether
                a repeat is safe.
        """
        call = self._run(name, tuple(keys), args)
        if (request := serving.get()) is not None:
            call = request.around(name, {"db.system.name": "redis", "db.stored_procedure.name": name}, call)
        return await timed(name, call)

    async def _run(self, name: str, keys: tuple[str, ...], args: Iterable[Argument]) -> Any:
        try:
            return await self._connection.call("EVALSHA", self._digests[name], len(keys), *keys, *args)
        except hiredis.ReplyError as error:
            if not str(error).startswith("NOSCRIPT"):
                raise
        return await self._connection.call("EVAL", self._sources[name], len(keys), *keys, *args)
