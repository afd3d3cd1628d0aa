"""The processes of the generator: started, kept in step, listened to, and always ended."""

import multiprocessing
import time
from collections.abc import Callable
from dataclasses import asdict
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from types import TracebackType
from typing import Any, Self, TypeVar

from obscura.bench.cpus import format_cpus
from obscura.bench.errors import BenchError
from obscura.bench.options import Options
from obscura.bench.recorder import Interval, now
from obscura.bench.registry import load
from obscura.bench.result import Result
from obscura.bench.server_process import usage
from obscura.bench.users import User
from obscura.bench.worker import Done, Failed, Finish, Go, Job, Measured, Ready, window_for, work

_STOP_SECS = 5.0
_HEAD_START_SECS = 0.05  # for the word to reach all processes
_HIDDEN = {"json", "plot", "scenarios", "targets", "cpus", "accounts_file", "pids"}

Report = TypeVar("Report", Ready, Measured, Done)
Listener = Callable[[Result], None]


def run(scenario: str, options: Options, users: list[User] | None, on_second: Listener) -> Result:
    """Run one scenario; ``on_second`` sees what is known so far, about once a second.

    Raises:
        BenchError: It could not be run to its end.
    """
    result = Result(
        scenario,
        load(scenario).operations,
        _as_json(scenario, options),
        None if options.cpus is None else format_cpus(options.cpus),
    )
    with ProcessPool(scenario, options, users) as pool:
        pool.gather(Ready, result, on_second)
        before = {pid: usage(pid) for pid in options.pids}
        window = window_for(scenario, options, now() + _HEAD_START_SECS)
        pool.tell(Go(window))
        measured = pool.gather(Measured, result, on_second)
        result.watched(before, {pid: usage(pid) for pid in options.pids}, now() - window.start)
        result.measured(window, measured)
        pool.tell(Finish())
        result.done(pool.gather(Done, result, on_second))
    return result


def _as_json(scenario: str, options: Options) -> dict[str, Any]:
    shown = {name: value for name, value in asdict(options).items() if name not in _HIDDEN}
    return shown | {
        "urls": [str(target) for target in options.targets],
        "size_bytes": options.size_bytes_for(scenario),
        "processes": options.processes_for(scenario),
    }


class ProcessPool:
    """The processes of one run; leaving the block ends them, however far they are."""

    def __init__(self, scenario: str, options: Options, users: list[User] | None) -> None:
        self._jobs = [
            Job(scenario, share, number, own) for number, (share, own) in enumerate(_shares(scenario, options, users))
        ]
        self._processes: list[SpawnProcess] = []
        self._pipes: list[Connection] = []

    def __enter__(self) -> Self:
        context = multiprocessing.get_context("spawn")
        try:
            for job in self._jobs:
                ours, theirs = context.Pipe()
                process = context.Process(target=work, args=(theirs, job), daemon=True)
                process.start()
                theirs.close()
                self._processes.append(process)
                self._pipes.append(ours)
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, _error: object, _trace: TracebackType | None) -> None:
        if kind is None:
            deadline = time.monotonic() + _STOP_SECS
            for process in self._processes:
                process.join(max(0, deadline - time.monotonic()))
        self._stop()

    def tell(self, word: object) -> None:
        for pipe in self._pipes:
            pipe.send(word)

    def gather(self, kind: type[Report], result: Result, on_second: Listener) -> list[Report]:
        """Wait until each process has said a word of this kind; what happens meanwhile goes into the result.

        Raises:
            BenchError: A process failed, or ended.
        """
        reports: list[Report] = []
        while len(reports) < len(self._pipes):
            for pipe in wait(self._pipes):
                assert isinstance(pipe, Connection)
                report = _receive(pipe)
                if isinstance(report, kind):
                    reports.append(report)
                elif isinstance(report, Interval):
                    result.timeline.add(report)
            on_second(result)
        return reports

    def _stop(self) -> None:
        for pipe in self._pipes:
            pipe.close()
        for process in self._processes:
            if process.is_alive():
                process.terminate()
            process.join(_STOP_SECS)
            if process.is_alive():
                process.kill()
                process.join()


def _receive(pipe: Connection) -> object:
    try:
        report: object = pipe.recv()
    except (EOFError, ConnectionError):
        raise BenchError("a process of the generator ended before its time") from None
    if isinstance(report, Failed):
        raise BenchError(report.reason)
    return report


def _shares(scenario: str, options: Options, users: list[User] | None) -> list[tuple[Options, list[User] | None]]:
    of = options.processes_for(scenario)
    shares = [options.share(number, of) for number in range(of)]
    if users is None:
        return [(share, None) for share in shares]
    return [(share, users[number::of]) for number, share in enumerate(shares)]
