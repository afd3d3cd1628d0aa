"""A redis-server in trouble that it cannot help: a full disk, a shortened file, a disk that hangs."""

import asyncio
import logging
import os
import signal
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import redis
from redis.exceptions import NoPermissionError, RedisError

from obscura.embedded_redis import server as server_module
from obscura.embedded_redis import watch
from obscura.embedded_redis.server import EmbeddedRedis
from tests.support.disks import filled, small_disk
from tests.support.inspection import metric
from tests.support.waiting import eventually

DISK_BYTES = 8 * 2**20


@pytest.fixture
def disk() -> Iterator[Path]:
    with small_disk(DISK_BYTES) as folder:
        yield folder


@pytest.fixture
async def server(disk: Path) -> AsyncIterator[EmbeddedRedis]:
    """A started redis-server on a disk of its own."""
    server = EmbeddedRedis(disk / "data")
    await server.start()
    yield server
    await server.stop()


def call(server: EmbeddedRedis, *command: object) -> object:
    with redis.Redis.from_url(server.url, decode_responses=True) as client:
        return client.execute_command(*command)


def outcome(server: EmbeddedRedis, *command: object) -> object:
    """The reply, or the kind of error."""
    try:
        return call(server, *command)
    except RedisError as error:
        return type(error)


def restarts() -> float:
    return metric("obscura_embedded_redis_restarts_total")


async def test_a_full_disk_costs_one_restart_and_nothing_that_was_stored(
    server: EmbeddedRedis, disk: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """What is there stays readable, writes are refused with one line in the log, and go on when there is room."""
    before = restarts()
    for number in range(20):
        call(server, "SET", f"stored:{number}", "value")
    with filled(disk):
        outcome(server, "SET", "too:much", "x" * 10_000)
        await eventually(lambda: outcome(server, "GET", "stored:19") == "value" and restarts() > before)
        for _ in range(100):
            assert outcome(server, "SET", "too:much", "x") is NoPermissionError
        call(server, "GET", "stored:0")
        told = [record for record in caplog.records if record.levelno >= logging.ERROR]
        assert [(record.message, record.reason) for record in told] == [
            ("redis-server ended and is started again", "its disk is full")
        ]
        assert told[0].free_bytes < 2**20
        assert restarts() == before + 1
    clock = asyncio.get_running_loop().time
    emptied_at = clock()
    await eventually(lambda: outcome(server, "SET", "fits", "value") is True or outcome(server, "GET", "fits"))
    assert clock() - emptied_at < 2
    assert call(server, "CONFIG", "GET", "appendfsync") == {"appendfsync": "always"}
    assert restarts() == before + 1
    assert server.pid is not None
    os.kill(server.pid, signal.SIGKILL)
    await eventually(lambda: restarts() == before + 2 and outcome(server, "GET", "fits") == "value")
    assert [call(server, "GET", f"stored:{number}") for number in range(20)] == ["value"] * 20


async def test_what_expires_does_not_end_it_while_the_disk_is_full(server: EmbeddedRedis, disk: Path) -> None:
    """It would write that into its file, as it does on its own."""
    call(server, "SET", "mortal", "value", "PX", 1500)
    before = restarts()
    with filled(disk):
        outcome(server, "SET", "too:much", "x" * 10_000)
        await eventually(lambda: restarts() > before and outcome(server, "PING") is True)
        await eventually(lambda: outcome(server, "GET", "mortal") is None)
        ended = restarts()
        await asyncio.sleep(1.5)  # the file is written once a second
        assert restarts() == ended == before + 1
    await eventually(lambda: outcome(server, "SET", "fits", "value") is True)


async def test_a_hung_redis_is_named_once(
    server: EmbeddedRedis, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With what the process is at and the room on its disk; and when it answers again, that too."""
    monkeypatch.setattr(server_module, "_LOOK_SECS", 0.05)
    monkeypatch.setattr(server_module, "_REPLY_DEADLINE_SECS", 0.2)
    assert server.pid is not None
    os.kill(server.pid, signal.SIGSTOP)

    def told() -> list[logging.LogRecord]:
        return [record for record in caplog.records if record.name == watch.__name__]

    await eventually(told)
    assert told()[0].message == "redis-server runs and does not answer"
    assert told()[0].state == "stopped"
    assert 0 < told()[0].free_bytes < DISK_BYTES
    os.kill(server.pid, signal.SIGCONT)
    await eventually(lambda: [record.message for record in told()][1:] == ["redis-server answers again"])


def shorten(data_dir: Path, by_bytes: int) -> None:
    """Cut off the end of the append-only file."""
    part = max(data_dir.glob("**/appendonly.aof*"), key=lambda path: path.stat().st_size)
    os.truncate(part, part.stat().st_size - by_bytes)


@pytest.fixture
def data_dir() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="obscura-", dir="/tmp") as parent:
        yield Path(parent) / "data"


async def test_a_shortened_file_is_warned_of_with_the_bytes_dropped(
    data_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever shortened it: what was not whole at its end is left out by redis-server, and not without a word."""
    server = EmbeddedRedis(data_dir)
    await server.start()
    assert not caplog.records
    for number in range(400):
        call(server, "SET", f"message:{number:03}", "value")
    await server.stop()
    record_bytes = len("*3\r\n$3\r\nSET\r\n$11\r\nmessage:000\r\n$5\r\nvalue\r\n")
    shorten(data_dir, 7 * record_bytes + 10)
    again = EmbeddedRedis(data_dir)
    await again.start()
    try:
        assert call(again, "DBSIZE") == 392
        (warning,) = [record for record in caplog.records if record.levelno == logging.WARNING]
        assert "was cut short" in warning.message
        assert warning.dropped_bytes == record_bytes - 10
    finally:
        await again.stop()
