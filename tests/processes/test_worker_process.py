"""A worker as its supervisor sees it, with small programs in the place of a worker."""

import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack

import pytest

from obscura.errors import StartupError, WorkerUnresponsive
from obscura.processes import worker_process
from obscura.processes.worker_config import WorkerConfig
from obscura.processes.worker_process import WorkerProcess
from obscura.settings.model import Settings
from tests.support.processes import is_running
from tests.support.waiting import eventually

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="processes are looked at in /proc")

# Speaks as a worker does: the first line is its configuration.
CHANNEL = """
import json, socket
channel = socket.socket(fileno=0).makefile("rw", buffering=1)
def receive():
    return json.loads(channel.readline() or "null")
def send(**message):
    print(json.dumps(message), file=channel)
receive()
"""
ECHO = """
send(started=True)
while asked := receive():
    send(id=asked["id"], answer=asked["question"])
"""
TWO_AT_A_TIME = """
send(started=True)
while asked := [receive(), receive()]:
    for one in reversed(asked):
        send(id=one["id"], answer=one["question"])
"""

Spawn = Callable[[str], Awaitable[WorkerProcess]]


@pytest.fixture
async def spawn(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Spawn]:
    """Start a program as a worker; it is killed at the end."""
    async with AsyncExitStack() as running:

        async def spawn(program: str) -> WorkerProcess:
            monkeypatch.setattr(worker_process, "_COMMAND", (sys.executable, "-S", "-c", CHANNEL + program))
            process = await WorkerProcess.spawn(WorkerConfig(1, Settings()))
            running.push_async_callback(process.wait)
            running.callback(process.signal, signal.SIGKILL)
            return process

        yield spawn


async def test_a_process_that_never_comes_up_is_no_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its start has a deadline, after which nothing of it is left."""
    monkeypatch.setattr(worker_process, "_COMMAND", (sys.executable, "-c", "input(); input()"))
    monkeypatch.setattr(worker_process, "_START_SECS", 0.5)
    silent = await WorkerProcess.spawn(WorkerConfig(1, Settings()))
    with pytest.raises(StartupError, match="did not start within"):
        await silent.wait_until_started()
    assert not is_running(silent.pid)


async def test_a_worker_says_why_it_cannot_start(spawn: Spawn) -> None:
    """In the words that the operator reads."""
    refusing = await spawn("send(refused='the port is taken')")
    with pytest.raises(StartupError, match=r"^the port is taken$"):
        await refusing.wait_until_started()


async def test_a_worker_that_ends_while_it_starts_cannot_say_why(spawn: Spawn) -> None:
    """Its exit code is told."""
    ending = await spawn("raise SystemExit(3)")
    with pytest.raises(StartupError, match="ended while it started, with exit code 3"):
        await ending.wait_until_started()


async def test_a_question_is_answered(spawn: Spawn) -> None:
    """As often as one is asked."""
    worker = await spawn(ECHO)
    await worker.wait_until_started()
    assert [await worker.ask(question, 20) for question in ("readiness", "metrics")] == ["readiness", "metrics"]


async def test_answers_may_come_in_any_order(spawn: Spawn) -> None:
    """Each finds the one who asked."""
    worker = await spawn(TWO_AT_A_TIME)
    await worker.wait_until_started()
    worker.ping()
    assert await worker.ask("metrics", 20) == "metrics"


async def test_a_worker_that_takes_too_long_is_unresponsive(spawn: Spawn) -> None:
    """Who asks waits no longer than they said; the worker may answer the next time."""
    worker = await spawn("send(started=True)\nreceive()" + ECHO.replace("send(started=True)", ""))
    await worker.wait_until_started()
    with pytest.raises(WorkerUnresponsive):
        await worker.ask("metrics", 0.05)
    assert await worker.ask("readiness", 20) == "readiness"


async def test_a_worker_that_has_ended_is_unresponsive(spawn: Spawn) -> None:
    """For who waits for its answer and for who asks afterwards; a ping is no error."""
    worker = await spawn("send(started=True)\nreceive()")
    await worker.wait_until_started()
    for _ in range(2):
        with pytest.raises(WorkerUnresponsive, match="the worker has ended"):
            await worker.ask("metrics", 20)
    worker.ping()
    assert await worker.wait() == 0


async def test_a_ping_is_answered_by_a_message(spawn: Spawn) -> None:
    """That is how a worker that is only busy is known from one that hangs."""
    worker = await spawn(ECHO)
    await worker.wait_until_started()
    before = worker.messages_received
    worker.ping()
    await eventually(lambda: worker.messages_received == before + 1)
