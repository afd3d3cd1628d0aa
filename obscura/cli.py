"""The ``obscura`` command.

Exit codes: 0 after a clean stop, 1 when the server cannot start or was stopped by
force, 2 when the command itself is not understood. `obscura inspect` and `obscura bench`
have their own.
"""

import asyncio
import os
import shutil
import signal
import sys
import textwrap
from collections.abc import Sequence
from importlib.metadata import version
from itertools import groupby

from obscura.bench.command import bench
from obscura.errors import StartupError
from obscura.inspect.command import inspect
from obscura.node.node import Node
from obscura.observability.logs import set_up_logging
from obscura.processes.runtime import (
    new_event_loop,
    raise_open_files_limit,
    run_until_signalled,
    warn_of_few_open_files,
)
from obscura.processes.supervisor import Supervisor
from obscura.settings.model import SETTINGS, Settings, load
from obscura.settings.types import Setting

_USAGE = """\
usage: obscura serve [--config FILE] [--SETTING VALUE ...]
       obscura inspect COMMAND [USER] [--by name|id] [--json] [--yes] [--config FILE] [--SETTING VALUE ...]
       obscura bench [SCENARIO ...] [--url URL ...] [--OPTION VALUE ...]
       obscura serve --help
       obscura inspect --help
       obscura bench --help
       obscura --version
"""

_SERVE_HELP = (
    "usage: obscura serve [--config FILE] [--SETTING VALUE ...]",
    "Run one node of the relay until SIGINT or SIGTERM; a second one does not wait for open requests.",
    "Each setting comes from its flag, else from its variable in the environment, else from the TOML file (where "
    "OBSCURA_LOG_LEVEL is log_level), else it is the default. The entries of a list are parted by commas. Some "
    "secrets have no flag, since the process list would show it.",
)

_MAX_COLUMNS = 100
_NO_BREAK = "\N{NO-BREAK SPACE}"
_FLAG_COLUMNS = max(len(setting.flag or "") for setting in SETTINGS.values())


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command with ``argv``, or with the process's own arguments, and return the exit code."""
    match list(sys.argv[1:] if argv is None else argv):
        case ["serve", *flags] if {"-h", "--help"}.isdisjoint(flags):
            return _serve(flags)
        case ["serve", *_]:
            print(serve_help(shutil.get_terminal_size().columns))
        case ["inspect", *words]:
            return inspect(words, os.environ)
        case ["bench", *words]:
            return bench(words)
        case ["--version"]:
            print(f"obscura {version('obscura')}")
        case ["-h" | "--help"]:
            print(_USAGE, end="")
        case _:
            print(_USAGE, end="", file=sys.stderr)
            return 2
    return 0


def serve_help(columns: int) -> str:
    """Render the help of ``obscura serve``: each setting by flag, variable, meaning and default."""
    wrap = textwrap.TextWrapper(min(columns, _MAX_COLUMNS), break_on_hyphens=False, break_long_words=False)
    parts = [wrap.fill(paragraph) for paragraph in _SERVE_HELP]
    wrap.initial_indent = wrap.subsequent_indent = " " * 6
    for topic, settings in groupby(SETTINGS.values(), lambda setting: setting.topic):
        parts.append("\n".join([f"{topic}:", *(_entry(setting, wrap) for setting in settings)]))
    return "\n\n".join(parts)


def _entry(setting: Setting, wrap: textwrap.TextWrapper) -> str:
    names = f"  {setting.flag or '(no flag)':<{_FLAG_COLUMNS}}  {setting.env}"
    meaning = wrap.fill(f"{setting.meaning} Default:{_NO_BREAK}{setting.default}").replace(_NO_BREAK, " ")
    return f"{names}\n{meaning}"


def _serve(flags: Sequence[str]) -> int:
    try:
        settings = load(flags, os.environ)
        set_up_logging(settings.log_level, settings.log_format)
        with asyncio.Runner(loop_factory=new_event_loop) as runner:
            runner.run(_run(settings))
    except StartupError as error:
        print(f"obscura: {error}", file=sys.stderr)
        return 1
    except asyncio.CancelledError:
        print("obscura: stopped by force", file=sys.stderr)
        return 1
    return 0


async def _run(settings: Settings) -> None:
    """Run a node, of one process or of several, until it is told to stop.

    Raises:
        StartupError: The node cannot start.
        CancelledError: A second signal came before the node had stopped. Its own Redis ends all the same.
    """
    raise_open_files_limit()
    node: Node | Supervisor = Node(settings)
    if settings.workers > 1:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # a terminal that goes takes no workers along
        node = Supervisor(settings)

    def on_started() -> None:
        if settings.workers == 1:
            warn_of_few_open_files(settings.max_sockets)
        print(_announcement(settings.host, node), flush=True)

    await run_until_signalled(node, on_started)


def _announcement(host: str, node: Node | Supervisor) -> str:
    name = f"[{host}]" if ":" in host else host
    return (
        f"API on http://{name}:{node.api_port}\n"
        f"management on http://{name}:{node.management_port}\n"
        f"{node.redis_description}"
    )
