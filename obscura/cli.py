"""The ``obscura`` command.

Exit codes: 0 after a clean stop, 1 when the server cannot start or was stopped by
force, 2 when the command itself is not understood. The other commands have their
own.
"""

import asyncio
import os
import shutil
import sys
from collections.abc import Sequence
from importlib.metadata import version

from obscura.backup.command import backup_or_restore
from obscura.bench.command import bench
from obscura.errors import StartupError
from obscura.inspect.command import inspect
from obscura.node.node import Node
from obscura.observability.logs import set_up_logging
from obscura.observability.standard_streams import open_standard_descriptors, unblocked_output
from obscura.observability.terminal import discard_output, escape_what_terminals_lack, print_error
from obscura.processes.supervisor import Supervisor
from obscura.runtime import (
    ignore_other_signals,
    log_few_open_files,
    new_event_loop,
    raise_open_files_limit,
    run_until_signalled,
)
from obscura.settings.help import serve_help
from obscura.settings.hosts import url_hosts
from obscura.settings.loading import load
from obscura.settings.model import Settings

_USAGE = """\
usage: obscura serve [--config FILE] [--SETTING VALUE ...]
       obscura inspect COMMAND [USER] [--by name|id] [--json] [--yes] [--config FILE] [--SETTING VALUE ...]
       obscura backup DIR [--config FILE] [--SETTING VALUE ...]
       obscura restore DIR [--config FILE] [--SETTING VALUE ...]
       obscura bench [SCENARIO ...] [--url URL ...] [--OPTION VALUE ...]
       obscura serve --help
       obscura inspect --help
       obscura backup --help
       obscura restore --help
       obscura bench --help
       obscura --version
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command with ``argv``, or with the process's own arguments, and return the exit code."""
    open_standard_descriptors()
    words = list(sys.argv[1:] if argv is None else argv)
    if words[:1] == ["serve"] and {"-h", "--help"}.isdisjoint(words):
        with unblocked_output():
            return _serve(words[1:])
    escape_what_terminals_lack()
    try:
        exit_code = _answer(words)
        print(end="", flush=True)
    except OSError as error:
        discard_output()
        if not isinstance(error, BrokenPipeError):  # whoever has read enough need not be told
            print_error(f"{error.filename or 'the output'}: {error.strerror or error}")
        return 1
    return exit_code


def _answer(words: Sequence[str]) -> int:
    """Run a command that prints something and ends.

    Raises:
        OSError: It cannot be printed.
    """
    match words:
        case ["serve", *_]:
            print(serve_help(shutil.get_terminal_size().columns))
        case ["inspect", *rest]:
            return inspect(rest, os.environ)
        case ["backup" | "restore" as action, *rest]:
            return backup_or_restore(action, rest, os.environ)
        case ["bench", *rest]:
            return bench(rest)
        case ["--version"]:
            print(f"obscura {version('obscura')}")
        case ["-h" | "--help"]:
            print(_USAGE, end="")
        case _:
            print(_USAGE, end="", file=sys.stderr)
            return 2
    return 0


def _serve(flags: Sequence[str]) -> int:
    ignore_other_signals()
    try:
        settings = load(flags, os.environ)
        set_up_logging(settings.log_level, settings.log_format)
        with asyncio.Runner(loop_factory=new_event_loop) as runner:
            runner.run(_run(settings))
    except StartupError as error:
        print_error(str(error))
        return 1
    except asyncio.CancelledError:
        print_error("stopped by force")
        return 1
    return 0


async def _run(settings: Settings) -> None:
    """Run a node, of one process or of several, until it is told to stop.

    Raises:
        StartupError: The node cannot start.
        CancelledError: A second signal came before the node had stopped. Its own Redis ends all the same.
    """
    raise_open_files_limit()
    node = Supervisor(settings) if settings.workers > 1 else Node(settings)

    def on_started() -> None:
        if settings.workers == 1:  # else each worker says so for itself
            log_few_open_files(settings.max_sockets, settings.is_given("max_sockets"))
        print(_announcement(settings.host, node), flush=True)

    await run_until_signalled(node, on_started)


def _announcement(host: str, node: Node | Supervisor) -> str:
    api, management = (
        " and ".join(f"http://{name}:{port}" for name in url_hosts(host))
        for port in (node.api_port, node.management_port)
    )
    return f"API on {api}\nmanagement on {management}\n{node.redis_description}"
