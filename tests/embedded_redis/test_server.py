"""The node's own redis-server: a supervised child that loses nothing and leaves nothing behind."""

import asyncio
import glob
import os
import signal
import socket
import stat
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import redis

from obscura.data_dir import lock_file
from obscura.embedded_redis import binary as redis_binary
from obscura.embedded_redis import server as server_module
from obscura.embedded_redis.directory import CONFIG
from obscura.embedded_redis.server import EmbeddedRedis
from obscura.errors import StartupError
from tests.embedded_redis.programs import install, put
from tests.support.waiting import DEADLINE_SECS, eventually


@pytest.fixture
def data_dir() -> Iterator[Path]:
    """A directory not yet made, with a path short enough for a socket everywhere."""
    with tempfile.TemporaryDirectory(prefix="obscura ", dir="/tmp") as parent:
        yield Path(parent) / "data"


@pytest.fixture
async def server(data_dir: Path) -> AsyncIterator[EmbeddedRedis]:
    """A started redis-server."""
    server = EmbeddedRedis(data_dir)
    await server.start()
    yield server
    await server.stop()


def call(server: EmbeddedRedis, *command: str) -> object:
    with redis.Redis.from_url(server.url, decode_responses=True) as client:
        return client.execute_command(*command)


def answers(server: EmbeddedRedis) -> bool:
    try:
        return bool(call(server, "PING"))
    except redis.RedisError:
        return False


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def redis_runs(data_dir: Path) -> bool:
    """Whether any redis-server still holds the directory, apart from what a started EmbeddedRedis holds."""
    lock = lock_file(data_dir / "redis.lock")
    if lock is not None:
        os.close(lock)
    return lock is None


def leave_stale_socket(data_dir: Path) -> None:
    data_dir.mkdir()
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(data_dir / "redis.sock"))


def start_orphan(data_dir: Path) -> subprocess.Popen[bytes]:
    """Leave a redis-server behind, as a killed node does where the kernel does not end its child."""
    put(data_dir / "redis.conf", CONFIG)
    lock = lock_file(data_dir / "redis.lock")
    assert lock is not None
    binary = redis_binary.find_redis_server().path
    orphan = subprocess.Popen([binary, "redis.conf"], cwd=data_dir, pass_fds=[lock], stdout=subprocess.DEVNULL)
    os.close(lock)
    return orphan


async def test_every_write_goes_to_the_append_only_file(server: EmbeddedRedis) -> None:
    """The child keeps a file, makes no room by forgetting, and is reached by its URL."""
    assert call(server, "CONFIG", "GET", "appendonly") == {"appendonly": "yes"}
    assert call(server, "CONFIG", "GET", "maxmemory-policy") == {"maxmemory-policy": "noeviction"}


async def test_the_data_is_for_nobody_else(server: EmbeddedRedis, data_dir: Path) -> None:
    """Neither the directory nor what redis-server writes there is open to other users."""
    assert call(server, "SET", "name", "value")
    assert mode(data_dir) == 0o700
    kept = glob.glob("appendonly*", root_dir=data_dir)
    assert kept
    assert not any(mode(data_dir / name) & 0o077 for name in kept)


async def test_a_second_start_finds_the_data(server: EmbeddedRedis, data_dir: Path) -> None:
    """What was written before a stop is there after the next start."""
    call(server, "SET", "name", "value")
    await server.stop()
    again = EmbeddedRedis(data_dir)
    await again.start()
    try:
        assert call(again, "GET", "name") == "value"
    finally:
        await again.stop()


async def test_a_stop_leaves_no_process_however_often_it_is_called(server: EmbeddedRedis, data_dir: Path) -> None:
    """The child is gone and the directory free."""
    await server.stop()
    await server.stop()
    assert not redis_runs(data_dir)
    assert not (data_dir / "redis.sock").exists()


async def test_a_killed_redis_comes_back_with_its_data(server: EmbeddedRedis) -> None:
    """The supervisor starts it again; a write that was answered is not lost."""
    call(server, "SET", "name", "value")
    killed = server.pid
    assert killed is not None
    os.kill(killed, signal.SIGKILL)
    await eventually(lambda: server.pid != killed and answers(server))
    assert call(server, "GET", "name") == "value"


async def test_a_redis_that_does_not_stop_is_killed(
    server: EmbeddedRedis, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the deadline a hanging child is not waited for."""
    monkeypatch.setattr(server_module, "_STOP_DEADLINE_SECS", 0.1)
    assert server.pid is not None
    os.kill(server.pid, signal.SIGSTOP)
    await server.stop()
    await eventually(lambda: not redis_runs(data_dir))


async def test_a_cancelled_stop_kills_redis(server: EmbeddedRedis, data_dir: Path) -> None:
    """A stop that is cut short leaves no process either."""
    assert server.pid is not None
    os.kill(server.pid, signal.SIGSTOP)
    stopping = asyncio.create_task(server.stop())
    await asyncio.sleep(0)
    stopping.cancel()
    await asyncio.wait([stopping])
    assert stopping.cancelled()
    await eventually(lambda: not redis_runs(data_dir))


async def test_a_directory_has_one_server(server: EmbeddedRedis, data_dir: Path) -> None:
    """A second server on the same directory is refused, and the first goes on."""
    with pytest.raises(StartupError, match="another server is running in the data directory"):
        await EmbeddedRedis(data_dir).start()
    assert answers(server)


async def test_a_stale_socket_is_removed(data_dir: Path) -> None:
    """What a killed node and its killed Redis leave does not stop the next start."""
    leave_stale_socket(data_dir)
    server = EmbeddedRedis(data_dir)
    await server.start()
    assert answers(server)
    await server.stop()


async def test_what_is_no_socket_is_left_alone(data_dir: Path) -> None:
    """A file of the socket's name is not ours to delete."""
    put(data_dir / "redis.sock", "important")
    with pytest.raises(StartupError, match="is in the way: it is not a socket"):
        await EmbeddedRedis(data_dir).start()
    assert (data_dir / "redis.sock").read_text() == "important"


async def test_an_orphan_is_ended_with_its_data_kept(data_dir: Path) -> None:
    """A redis-server that outlived its node writes its file before the new one reads it."""
    orphan = start_orphan(data_dir)
    server = EmbeddedRedis(data_dir)
    await eventually(lambda: answers(server))
    call(server, "SET", "name", "value")
    await server.start()
    try:
        assert orphan.wait(DEADLINE_SECS) == 0
        assert call(server, "GET", "name") == "value"
    finally:
        await server.stop()


async def test_an_orphan_that_hangs_stops_the_start(data_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two processes on one append-only file would ruin it."""
    monkeypatch.setattr(server_module, "_ORPHAN_DEADLINE_SECS", 0.2)
    orphan = start_orphan(data_dir)
    await eventually(lambda: answers(EmbeddedRedis(data_dir)))
    orphan.send_signal(signal.SIGSTOP)
    try:
        with pytest.raises(StartupError, match="a redis-server of an earlier run does not leave"):
            await EmbeddedRedis(data_dir).start()
    finally:
        orphan.kill()
        orphan.wait()


async def test_a_path_too_long_for_a_socket_is_refused(tmp_path: Path) -> None:
    """The sentence says what to change."""
    with pytest.raises(StartupError, match="choose a DATA_DIR of fewer than 89 bytes"):
        await EmbeddedRedis(tmp_path / ("long" * 25)).start()


async def test_a_directory_that_cannot_be_used_is_refused(tmp_path: Path) -> None:
    """The operating system's reason is passed on."""
    put(tmp_path / "file", "")
    with pytest.raises(StartupError, match="cannot be used: Not a directory"):
        await EmbeddedRedis(tmp_path / "file" / "data").start()


async def test_a_redis_that_ends_at_once_is_reported_with_its_reason(data_dir: Path) -> None:
    """The reason is the last line of its log, as with a damaged append-only file."""
    put(data_dir / "appendonly.aof", "this is no such file\n")
    with pytest.raises(StartupError, match=r"redis-server does not start: Bad file format reading the append only"):
        await EmbeddedRedis(data_dir).start()
    assert not redis_runs(data_dir)


async def test_a_missing_redis_is_reported_with_the_remedy(data_dir: Path, programs: Path) -> None:
    """Neither on PATH nor as an extra: the sentence says what to install."""
    with pytest.raises(StartupError, match="no redis-server was found: install redis-server"):
        await EmbeddedRedis(data_dir).start()


async def test_an_older_redis_does_not_start_beside_data_it_cannot_read(data_dir: Path, programs: Path) -> None:
    """Redis 6.2 does not know the files of Redis 7 and would come up empty."""
    put(data_dir / "appendonlydir" / "appendonly.aof.manifest", "")
    install(programs / "redis-server", "6.2.14")
    with pytest.raises(StartupError, match="was written by redis-server 7 or later"):
        await EmbeddedRedis(data_dir).start()
