"""What redis-server has in the data directory. Directories in use and in the way are in test_server.py."""

from pathlib import Path

import pytest

from obscura.embedded_redis.binary import RedisBinary, check_aof_line
from obscura.embedded_redis.directory import CONFIG, RedisDirectory
from obscura.errors import StartupError
from tests.embedded_redis.programs import put


def test_a_directory_is_claimed_by_one(tmp_path: Path) -> None:
    """Until it is released, which may be repeated."""
    first, second = RedisDirectory(tmp_path / "data"), RedisDirectory(tmp_path / "data")
    first.claim()
    assert first.lock_for_redis()
    with pytest.raises(StartupError, match="another server is running in the data directory"):
        second.claim()
    for _ in range(2):
        first.release()
    second.claim()
    assert second.lock_for_redis()
    second.release()


def test_data_of_a_later_version_is_not_left_beside_an_empty_file(tmp_path: Path) -> None:
    """Redis 6.2 does not know the files of Redis 7 and would come up empty; 7 reads those of 6.2."""
    directory = RedisDirectory(tmp_path)
    directory.prepare_for(RedisBinary("old", (6, 2)))
    assert (tmp_path / "redis.conf").read_text() == CONFIG
    (tmp_path / "appendonlydir").mkdir()
    with pytest.raises(StartupError, match="was written by redis-server 7 or later, and old is older"):
        directory.prepare_for(RedisBinary("old", (6, 2)))
    directory.prepare_for(RedisBinary("new", (7, 0)))


def test_the_last_line_of_the_log_is_the_reason(tmp_path: Path) -> None:
    """Without what stands before the sentence, and without what an earlier run said."""
    directory = RedisDirectory(tmp_path)
    earlier = "1:M 27 Nov 2026 10:00:00.123 * Ready to accept connections\n"
    directory.log.write_text(earlier)
    assert directory.last_log_line(len(earlier)) == f"no reason given (see {tmp_path}/redis.log)"
    with directory.log.open("a") as log:
        log.write("7:M 28 Nov 2026 10:00:00.123 # Bad file format\n\n")
    assert directory.last_log_line(len(earlier)) == f"Bad file format (see {tmp_path}/redis.log)"


@pytest.mark.parametrize("content", [None, ""])
def test_parts_without_their_list_are_refused(tmp_path: Path, content: str | None) -> None:
    """redis-server 7 would come up empty beside a full append-only file."""
    put(tmp_path / "appendonlydir" / "appendonly.aof.1.incr.aof", "full")
    if content is not None:
        put(tmp_path / "appendonlydir" / "appendonly.aof.manifest", content)
    with pytest.raises(StartupError, match=r"has an append-only file and lacks appendonly\.aof\.manifest"):
        RedisDirectory(tmp_path).prepare_for(RedisBinary("new", (7, 0)))


def test_two_append_only_files_are_refused(tmp_path: Path) -> None:
    """redis-server 7 would pass over the one of 6.2; alone it takes that over."""
    put(tmp_path / "appendonly.aof", "full")
    RedisDirectory(tmp_path).prepare_for(RedisBinary("new", (7, 0)))
    put(tmp_path / "appendonlydir" / "appendonly.aof.manifest", "file appendonly.aof.1.incr.aof seq 1 type i\n")
    with pytest.raises(StartupError, match="has two append-only files"):
        RedisDirectory(tmp_path).prepare_for(RedisBinary("new", (7, 0)))


def test_a_tool_that_redis_names_is_a_command_of_this_machine(tmp_path: Path) -> None:
    """Not a file of the directory in which Redis was built."""
    directory = RedisDirectory(tmp_path)
    said = "Bad file format reading the append only file: use ./redis-check-aof --fix <filename>"
    directory.log.write_text(f"7:M 28 Nov 2026 10:00:00.123 # {said}\n")
    line = directory.last_log_line(0)
    assert f"use {check_aof_line('redis-server')} --fix" in line
    assert "./redis-check-aof" not in line
