"""lua/attachments_spend.lua and its like, one at a time: no byte is taken twice, and all come back in time."""

from collections.abc import Iterator
from uuid import uuid4

import pytest

from tests.support.scripts import ScriptRunner

PERIOD_MS = 60_000
FAR_MS = 4_000_000_000_123


@pytest.fixture
def key(scripts: ScriptRunner) -> Iterator[str]:
    """The name of a key of the test's own."""
    key = f"test:{uuid4()}"
    yield key
    scripts.redis.delete(key)


def spend(scripts: ScriptRunner, key: str, wanted: int, least: int) -> int:
    """Of 100 bytes."""
    taken, left_ms = scripts.run("attachments_spend", [key], [wanted, least, 100, PERIOD_MS])
    assert 0 < left_ms <= PERIOD_MS
    return int(taken)


def reserve(scripts: ScriptRunner, key: str, wanted: int, least: int, most: int = 100, until_ms: int = FAR_MS) -> int:
    return int(scripts.run("attachments_reserve", [key], [wanted, least, most, until_ms]))


@pytest.mark.parametrize("take", [spend, reserve])
def test_bytes_are_taken_until_fewer_than_the_least_are_left(scripts: ScriptRunner, key: str, take: object) -> None:
    """What is wanted, else what is left, else none."""
    assert callable(take)
    assert [take(scripts, key, *asked) for asked in ((60, 60), (60, 10), (1, 1))] == [60, 40, 0]


def test_a_period_begins_with_its_first_byte_and_gives_all_back(scripts: ScriptRunner, key: str) -> None:
    """Later bytes and those given back do not move its end."""
    assert spend(scripts, key, 10, 10) == 10
    scripts.redis.pexpire(key, 5000)
    assert spend(scripts, key, 90, 90) == 90
    scripts.run("attachments_unspend", [key], [30])
    assert scripts.redis.get(key) == b"70"
    assert scripts.redis.pttl(key) <= 5000
    scripts.redis.delete(key)
    scripts.run("attachments_unspend", [key], [30])
    assert not scripts.redis.exists(key)


def test_bytes_of_all_count_until_their_time(scripts: ScriptRunner, key: str) -> None:
    """What has passed is taken off by the next; the key lives as long as the last of them."""
    scripts.redis.hset(key, mapping={"1000": 99, "2000": 1})
    assert reserve(scripts, key, 100, 100) == 100
    assert scripts.redis.hgetall(key) == {str(FAR_MS).encode(): b"100"}
    assert scripts.redis.pexpiretime(key) == FAR_MS if hasattr(scripts.redis, "pexpiretime") else True


def test_without_a_limit_bytes_are_counted_all_the_same(scripts: ScriptRunner, key: str) -> None:
    """There may be one tomorrow."""
    assert reserve(scripts, key, 2**50, 1, most=0) == 2**50
    assert reserve(scripts, key, 1, 1) == 0


def test_what_is_kept_takes_the_place_of_what_was_reserved(scripts: ScriptRunner, key: str) -> None:
    """Under the time when it expires; of a failed upload nothing is left."""
    assert reserve(scripts, key, 50, 50, until_ms=FAR_MS - 1) == 50
    scripts.run("attachments_settle", [key], [50, FAR_MS - 1, 20, FAR_MS])
    assert scripts.redis.hgetall(key) == {str(FAR_MS).encode(): b"20"}
    assert reserve(scripts, key, 80, 80) == 80
    scripts.run("attachments_settle", [key], [80, FAR_MS, 0, 0])
    assert scripts.redis.hgetall(key) == {str(FAR_MS).encode(): b"20"}
    scripts.run("attachments_settle", [key], [20, FAR_MS, 0, 0])
    assert not scripts.redis.exists(key)
