"""All scenarios of a command line, one after the other, and what they found written where it was wanted."""

import json
import platform
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

from obscura.bench import process_pool
from obscura.bench.cpus import allowed_cpus, format_cpus
from obscura.bench.errors import BenchError
from obscura.bench.options import Options
from obscura.bench.plot import draw
from obscura.bench.progress import Progress
from obscura.bench.report import as_text
from obscura.bench.result import Result
from obscura.bench.users import User, read_users


def run_all(options: Options) -> bool:
    """Run what was asked for; whether all of it is accounted for.

    Raises:
        BenchError: A scenario could not be run to its end.
    """
    users = _users(options)
    results = []
    for scenario in options.scenarios:
        results.append(_run_one(scenario, options, users))
        if options.json != "-":
            print(as_text(results[-1]), end="\n\n", flush=True)
        if options.plot is not None:
            draw(results[-1], _plot_file(options, scenario))
    if options.json is not None:
        _write(json.dumps(as_json(results), indent=2), options.json)
    return all(result.ok for result in results)


def as_json(results: list[Result]) -> dict[str, Any]:
    """Everything that was found, and on what."""
    return {
        "obscura": version("obscura"),
        "machine": {
            "system": f"{platform.system()} {platform.release()} {platform.machine()}",
            "python": platform.python_version(),
            "cpus": len(allowed_cpus()),
        },
        "results": [result.as_json() for result in results],
    }


def _run_one(scenario: str, options: Options, users: list[User] | None) -> Result:
    progress = Progress()
    try:
        return process_pool.run(scenario, options, users, progress.show)
    except BenchError as error:
        raise BenchError(f"{scenario}: {error}") from None
    finally:
        progress.clear()


def _users(options: Options) -> list[User] | None:
    if options.cpus is not None:
        print(f"pinned to CPU {format_cpus(options.cpus)}", file=sys.stderr)
    if options.accounts_file is None:
        return None
    users = read_users(options.accounts_file)
    if len(users) < options.users:
        raise BenchError(f"{options.users} users are wanted, and {options.accounts_file} holds {len(users)}")
    return users[: options.users]


def _plot_file(options: Options, scenario: str) -> Path:
    assert options.plot is not None
    if len(options.scenarios) == 1:
        return options.plot
    return options.plot.with_stem(f"{options.plot.stem}-{scenario}")


def _write(text: str, where: str) -> None:
    if where == "-":
        print(text)
        return
    try:
        Path(where).write_text(text + "\n")
    except OSError as error:
        raise BenchError(f"the results could not be written to {where}: {error.strerror}") from None
