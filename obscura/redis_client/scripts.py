"""The Lua scripts: found, loaded and run by name.

Each lies in ``lua/<name>.lua``; its header says what it does, its KEYS and ARGV, what
it returns, whether a repeat is safe, and whether it counts only once replicas have a
copy. Nothing here repeats a script that may have run: NOSCRIPT alone proves that it did
not.
"""

from collections.abc import Awaitable, Iterable
from hashlib import sha1
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from time import perf_counter
from typing import Any, NamedTuple

import hiredis

from obscura.errors import StoreUnavailable
from obscura.observability.metrics.redis import REDIS_SCRIPTS_LOADED, RedisSeries, redis_series
from obscura.observability.tracing import current_span
from obscura.redis_client.commands import CommandExecutor
from obscura.redis_client.transport import Argument


def script_folder() -> Traversable:
    """Where the scripts are: in the installed package, else beside it in a checkout."""
    checkout = Path(__file__).parents[2] / "lua"
    return checkout if checkout.is_dir() else files("obscura.lua")


class _Script(NamedTuple):
    source: bytes
    digest: str
    is_replicated: bool
    series: RedisSeries

    @classmethod
    def parse(cls, name: str, source: bytes) -> "_Script":
        digest = sha1(source, usedforsecurity=False).hexdigest()
        return cls(source, digest, b"\n-- Replicated: yes" in source, redis_series(name))


class Scripts:
    """Runs the scripts of ``lua/``, each where its keys lie."""

    def __init__(self, commands: CommandExecutor) -> None:
        self._commands = commands
        self._scripts = {
            name: _Script.parse(name, file.read_bytes())
            for file in script_folder().iterdir()
            if (name := file.name.removesuffix(".lua")) != file.name
        }

    def run(self, name: str, keys: Iterable[str], args: Iterable[Argument] = ()) -> Awaitable[Any]:
        """Run one script as one atomic step; loads it where the server does not have it, as after SCRIPT FLUSH.

        Cancelled, it may have run all the same.

        Args:
            name: Its file name without the ending.
            keys: KEYS, in the order of the header.
            args: ARGV, in the order of the header.

        Raises:
            StoreUnavailable: No reply, or too few copies. The script may have run; its
                header says whether a repeat is safe.
        """
        call = self._run(self._scripts[name], tuple(keys), args)
        request = current_span.get()
        if request is None:
            return call
        return request.child_span(name, {"db.system.name": "redis", "db.stored_procedure.name": name}, call)

    async def _run(self, script: _Script, keys: tuple[str, ...], args: Iterable[Argument]) -> Any:
        call = self._commands.call_replicated if script.is_replicated else self._commands.call
        started = perf_counter()
        try:
            return await call("EVALSHA", script.digest, len(keys), *keys, *args)
        except hiredis.ReplyError as error:
            if not str(error).startswith("NOSCRIPT"):
                script.series.errors.inc()
                raise
            REDIS_SCRIPTS_LOADED.inc()
            return await call("EVAL", script.source, len(keys), *keys, *args)
        except StoreUnavailable:
            script.series.errors.inc()
            raise
        finally:
            script.series.times.observe(perf_counter() - started)
