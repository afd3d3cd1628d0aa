"""One process of the generator: prepares, waits for the word, loads, and tells what happened.

It speaks with the process that started it over a pipe: `Ready`, then `Go` comes; an
`Interval` each second; `Measured` at the end of the load, then `Finish` comes; `Done`.
`Failed` at any time is the last word. Whatever goes either way stays inside the machine.
"""

import asyncio
import signal
import time
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection

from obscura.bench.cpus import pin
from obscura.bench.errors import BenchError
from obscura.bench.message_tracker import MessageCounts
from obscura.bench.options import Options
from obscura.bench.recorder import Interval, Window, now
from obscura.bench.registry import SCENARIOS, load
from obscura.bench.scenario_context import Scenario, ScenarioContext
from obscura.bench.users import User, fake_users, register_all
from obscura.client.errors import ExchangeError
from obscura.runtime import new_event_loop, raise_open_files_limit

_SPARE_SECS = 60  # for what comes before and after the load
_EARLY_SECS = 0.002  # by which uvloop, which counts milliseconds, may wake: too early, and an operation does not count


@dataclass(frozen=True, slots=True)
class Job:
    """What one process is to do. ``users`` is None when it is to make its own."""

    scenario: str
    options: Options
    number: int
    users: list[User] | None


@dataclass(frozen=True, slots=True)
class Ready:
    pass


@dataclass(frozen=True, slots=True)
class Go:
    window: Window


@dataclass(frozen=True, slots=True)
class Measured:
    """The load is over. ``cpu_share`` is of one core, from `Go` on; ``last_end`` as the recorder's."""

    interval: Interval
    last_end: float
    cpu_share: float
    sent_bytes: int
    received_bytes: int


@dataclass(frozen=True, slots=True)
class Finish:
    pass


@dataclass(frozen=True, slots=True)
class Done:
    interval: Interval
    counts: MessageCounts | None


@dataclass(frozen=True, slots=True)
class Failed:
    reason: str


def work(pipe: Connection, job: Job) -> None:
    """The life of the process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the first process, which ends the others
    if job.options.cpus is not None:
        pin(job.options.cpus)
    raise_open_files_limit()
    with suppress(BrokenPipeError, EOFError), asyncio.Runner(loop_factory=new_event_loop) as runner:  # nobody listens
        try:
            runner.run(_serve(pipe, job))
        except (BenchError, ExchangeError) as error:
            pipe.send(Failed(str(error)))


async def _serve(pipe: Connection, job: Job) -> None:
    options = job.options
    lasts_secs = options.warmup_secs + options.duration_secs + _SPARE_SECS
    context = ScenarioContext(options, job.number, job.users or [])
    if options.reference:
        context.users = fake_users(options.users)
    elif job.users is None:
        context.users = await register_all(options.users, context.connect, lasts_secs)
    scenario = load(job.scenario)(context)
    await scenario.prepare()
    pipe.send(Ready())
    go = await _receive(pipe)
    assert isinstance(go, Go)
    pipe.send(await _load(pipe, context, scenario, go.window))
    await _receive(pipe)
    await scenario.finish()
    pipe.send(Done(context.recorder.take(), scenario.counts()))


async def _receive(pipe: Connection) -> object:
    return await asyncio.get_running_loop().run_in_executor(None, pipe.recv)


async def _load(pipe: Connection, context: ScenarioContext, scenario: Scenario, window: Window) -> Measured:
    context.recorder.window = window
    await asyncio.sleep(window.start - now() + _EARLY_SECS)
    ticker = asyncio.create_task(_tick(pipe, context))
    cpu_secs, started = time.process_time(), now()
    sent, received = context.traffic.sent, context.traffic.received
    running = asyncio.create_task(scenario.run())
    try:
        await asyncio.wait({running, ticker}, return_when=asyncio.FIRST_COMPLETED)
        if ticker.done():
            await ticker  # raises: nobody listens any more, and a load without a master is not to go on
        await running
        cpu_share = (time.process_time() - cpu_secs) / (now() - started)
    finally:
        ticker.cancel()
        running.cancel()
    return Measured(
        context.recorder.take(),
        context.recorder.last_end,
        cpu_share,
        context.traffic.sent - sent,
        context.traffic.received - received,
    )


async def _tick(pipe: Connection, context: ScenarioContext) -> None:
    """Tell each second what happened in it."""
    until = context.recorder.window.measured_from
    while True:
        until += 1
        await asyncio.sleep(until - now())
        pipe.send(context.recorder.take())


def window_for(scenario: str, options: Options, start: float) -> Window:
    """When a scenario loads, from ``start`` on."""
    if not SCENARIOS[scenario].is_timed:
        return Window(start, start, float("inf"))
    measured_from = start + options.warmup_secs
    return Window(start, measured_from, measured_from + options.duration_secs)
