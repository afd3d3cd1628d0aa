"""The program of a worker: a process that serves as one of several, told what to do through its standard input.

That is one end of a socket pair; the supervisor has the other. Down come the configuration
and then questions, up go the answers, one JSON value a line:

    {"number": 1, "settings": {...}}       the configuration, secrets included
    {"started": true}                      or {"refused": "<why it cannot start>"}
    {"id": 7, "question": "readiness"}     or "metrics", or "alive"
    {"id": 7, "answer": ...}               as soon as it is known, whatever was asked before

Nobody else can read it, and nothing of it shows in a process list. It ends with the
supervisor, however that ends: then the worker stops as on SIGTERM.
"""

import asyncio
import faulthandler
import logging
import os
import signal
import socket
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import orjson

from obscura.errors import StartupError
from obscura.node.node import Node
from obscura.observability.exposition import own_metrics
from obscura.observability.logs import set_up_logging
from obscura.observability.standard_streams import unblocked_output
from obscura.processes.worker_config import WorkerConfig
from obscura.runtime import (
    STACK_DUMP_SIGNAL,
    ignore_other_signals,
    log_few_open_files,
    new_event_loop,
    run_until_signalled,
)
from obscura.tasks import end_tasks

log = logging.getLogger(__name__)

_STDIN = 0
_MAX_LINE_BYTES = 2**20

Answers = Mapping[str, Callable[[], Awaitable[object]]]


def main() -> int:
    """Serve until told to stop; returns the exit code."""
    ignore_other_signals()
    faulthandler.register(STACK_DUMP_SIGNAL)
    channel = socket.socket(fileno=os.dup(_STDIN))
    try:
        with unblocked_output(), asyncio.Runner(loop_factory=new_event_loop) as runner:
            return runner.run(_serve(channel))
    except asyncio.CancelledError:
        return 1


async def _serve(channel: socket.socket) -> int:
    reader, writer = await asyncio.open_unix_connection(sock=channel, limit=_MAX_LINE_BYTES)
    line = await reader.readline()
    if not line:
        return 1  # the supervisor is gone already
    config = WorkerConfig.from_json(line)
    settings = config.worker_settings
    set_up_logging(settings.log_level, settings.log_format)
    _number_log_lines(config.number)
    node = Node(settings, is_worker=True)
    answers: Answers = {"readiness": node.readiness, "metrics": _metrics, "alive": _alive}
    answering = asyncio.create_task(_answer(reader, writer, answers))

    def on_started() -> None:
        log_few_open_files(settings.max_sockets, config.node_settings.is_given("max_sockets"))
        _send(writer, {"started": True})

    try:
        await run_until_signalled(node, on_started)
    except StartupError as error:
        _send(writer, {"refused": str(error)})
        return 1
    finally:
        await end_tasks(answering)
        writer.close()
    return 0


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answers: Answers) -> None:
    """Answer questions until the supervisor is gone, and then stop this process."""
    try:
        async with asyncio.TaskGroup() as answering:
            while line := await reader.readline():
                answering.create_task(_answer_one(writer, orjson.loads(line), answers))
            raise EOFError
    except* (EOFError, ConnectionError):
        pass  # the supervisor is gone
    except* Exception:
        log.exception("a question of the supervisor could not be answered")  # who will start another worker
    os.kill(os.getpid(), signal.SIGTERM)


async def _answer_one(writer: asyncio.StreamWriter, asked: Mapping[str, Any], answers: Answers) -> None:
    _send(writer, {"id": asked["id"], "answer": await answers[asked["question"]]()})


def _send(writer: asyncio.StreamWriter, message: object) -> None:
    writer.write(orjson.dumps(message) + b"\n")


async def _metrics() -> str:
    return (await own_metrics()).decode()


async def _alive() -> bool:
    return True


def _number_log_lines(number: int) -> None:
    """Name the worker in every line."""

    def add_number(record: logging.LogRecord) -> bool:
        record.worker = number
        return True

    for handler in logging.getLogger().handlers:
        handler.addFilter(add_number)
