"""What `obscura bench` is asked to do: its command line, and one process's share of it."""

import argparse
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NoReturn

from obscura.bench.cpus import allowed_cpus, parse_cpus
from obscura.bench.registry import MESSAGE_BYTES, SCENARIOS
from obscura.client.target import Target

_MIN_SIZE_BYTES = 16  # room for what tells one message from another

EPILOG = """\
With --rate the load is an open loop: operations start on time however slow the server is, and
latency counts from the moment when each was to start. Without it the loop is closed: --concurrency
operations are under way at any time.

The limits of a server per client address hold for a bench too: a 429 is reported, and which
settings of obscura serve to raise. Exit codes: 0; 1 when an answer was wrong or missing, or a
message lost or doubled; 2 when the command is not understood.
"""


class UsageError(Exception):
    """The command is not understood; the text is one sentence."""


@dataclass(frozen=True, slots=True)
class Options:
    """One run as asked for, or the share of one process in it."""

    scenarios: tuple[str, ...]
    targets: tuple[Target, ...]
    duration_secs: float
    warmup_secs: float
    timeout_secs: float
    rate_per_sec: float | None
    concurrency: int
    size_bytes: int | None
    users: int
    sockets: int
    pending: int
    processes: int
    pids: tuple[int, ...]
    cpus: frozenset[int] | None
    accounts_file: Path | None
    reference: bool
    json: str | None
    plot: Path | None

    def share(self, index: int, of: int) -> "Options":
        """What process ``index`` of ``of`` does: an even part of everything that is counted."""
        rate = self.rate_per_sec / of if self.rate_per_sec is not None else None
        return replace(
            self,
            rate_per_sec=rate,
            concurrency=_part(self.concurrency, index, of),
            users=_part(self.users, index, of),
            sockets=_part(self.sockets, index, of),
        )

    def processes_for(self, scenario: str) -> int:
        """As many as were asked for, as long as each has something to do."""
        scarce = [self.users, self.concurrency] + ([self.sockets] if SCENARIOS[scenario].opens_sockets else [])
        return min(self.processes, *scarce)

    def size_bytes_for(self, scenario: str) -> int:
        return self.size_bytes or SCENARIOS[scenario].size_bytes


def _part(count: int, index: int, of: int) -> int:
    return count // of + (index < count % of)


def parse(argv: Sequence[str]) -> Options:
    """Read the command line.

    Raises:
        UsageError: It says nothing that can be done.
        SystemExit: It asked for help, which was printed.
    """
    given = _parser().parse_args(argv)
    _check(given)
    return Options(
        scenarios=tuple(given.scenarios or ["relay"]),
        targets=tuple(given.url or [Target.parse("http://localhost:3000")]),
        duration_secs=given.duration,
        warmup_secs=given.warmup,
        timeout_secs=given.timeout,
        rate_per_sec=given.rate,
        concurrency=given.concurrency,
        size_bytes=given.size,
        users=given.users,
        sockets=given.sockets,
        pending=given.pending,
        processes=given.processes or max(1, len(given.pin or allowed_cpus()) // 2),
        pids=tuple(given.pid or ()),
        cpus=given.pin,
        accounts_file=given.accounts,
        reference=given.reference,
        json=given.json,
        plot=given.plot,
    )


def _check(given: argparse.Namespace) -> None:
    for name in given.scenarios:
        if name not in SCENARIOS:
            raise UsageError(f"{name} is no scenario; there are {', '.join(SCENARIOS)}")
    if given.reference and not set(given.scenarios) <= {"send", "echo", "idle"}:
        raise UsageError("--reference goes with send, echo and idle only: a bare server has no accounts")
    if "echo" in given.scenarios and not given.reference:
        raise UsageError("echo is for a bare server: it needs --reference")
    if given.pin and not given.pin <= allowed_cpus():
        raise UsageError(f"--pin names a CPU that this process may not use; it may use {sorted(allowed_cpus())}")
    if given.plot and given.plot.suffix != ".svg":
        raise UsageError("--plot writes SVG: its file name ends in .svg")
    if given.accounts and not given.accounts.is_file():
        raise UsageError(f"--accounts names no file: {given.accounts}")
    for pid in given.pid or ():
        if not Path(f"/proc/{pid}").exists():
            raise UsageError(f"--pid names no process that can be watched: {pid}")


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(message)


def _parser() -> argparse.ArgumentParser:
    listed = "\n".join(f"  {name:12} {entry.meaning}" for name, entry in SCENARIOS.items())
    parser = _Parser(
        prog="obscura bench",
        description=f"Load a relay and account for every message.\n\nscenarios (default: relay):\n{listed}",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("scenarios", nargs="*", metavar="SCENARIO")
    add = parser.add_argument
    add("--url", action="append", type=_target, help="of a node; once for each node (http://localhost:3000)")
    add("--duration", type=_seconds, default=10.0, metavar="SECS", help="how long to measure (10)")
    add("--warmup", type=_seconds_or_none, default=2.0, metavar="SECS", help="load before that, not measured (2)")
    add("--timeout", type=_seconds, default=10.0, metavar="SECS", help="how long to wait for what is due (10)")
    add("--rate", type=_seconds, metavar="N", help="operations a second, started on time: an open loop")
    add("--concurrency", type=_count, default=64, metavar="N", help="connections, and operations at a time (64)")
    add("--size", type=_size, metavar="BYTES", help=f"of a message ({MESSAGE_BYTES}) or an attachment (1 MiB)")
    add("--users", type=_count, default=20, metavar="N", help="to register (20)")
    add("--sockets", type=_count, default=100, metavar="N", help="to open, in idle (100), spread over the users")
    add("--pending", type=_count, default=1000, metavar="N", help="messages for each user, in backlog (1000)")
    add("--processes", type=_count, metavar="N", help="of the generator (half of the CPUs)")
    add("--pin", type=_cpus, metavar="CPUS", help="CPUs that the generator keeps to, as 0,2-3")
    add("--pid", action="append", type=_count, metavar="PID", help="of a server on this machine, to watch; repeatable")
    add("--accounts", type=Path, metavar="FILE", help="accounts to use instead of registering: a JSON value a line")
    add("--json", metavar="FILE", help="write the results; - is standard output, instead of the tables")
    add("--plot", type=Path, metavar="FILE.svg", help="draw throughput and latency over time")
    add("--reference", action="store_true", help="the server is bare: it has no accounts (send, echo, idle)")
    return parser


def _target(text: str) -> Target:
    try:
        return Target.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _cpus(text: str) -> frozenset[int]:
    if not hasattr(os, "sched_setaffinity"):
        raise argparse.ArgumentTypeError(f"a process cannot be pinned on {sys.platform}")
    try:
        return parse_cpus(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no list of CPUs like 0,2-3") from None


def _number(text: str, least: float, wanted: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = float("nan")
    if not least <= number < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not {wanted}")
    return number


def _seconds(text: str) -> float:
    return _number(text, 0.001, "a number above 0")


def _seconds_or_none(text: str) -> float:
    return _number(text, 0, "a number from 0")


def _count(text: str) -> int:
    if not (text.isdecimal() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1")
    return int(text)


def _size(text: str) -> int:
    if (size := _count(text)) < _MIN_SIZE_BYTES:
        raise argparse.ArgumentTypeError(f"{text!r} is less than {_MIN_SIZE_BYTES} bytes")
    return size
