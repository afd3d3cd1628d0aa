"""lua/attachments_*.lua, one at a time: what is due, and what may still be finished."""

from collections.abc import Iterator
from uuid import uuid4

import pytest

from tests.support.scripts import ScriptRunner

ABANDONED_MS = 1_000
EXPIRES_MS = 4_000_000_000_123
AGAIN_MS = 60_000


@pytest.fixture
def expiry(scripts: ScriptRunner) -> Iterator[str]:
    """The name of an index of the test's own."""
    key = f"test:{uuid4()}"
    yield key
    scripts.redis.delete(key)


def claim(scripts: ScriptRunner, expiry: str, max_count: int = 10) -> list[bytes]:
    return scripts.run("attachments_claim", [expiry], [max_count, AGAIN_MS])


def finish(scripts: ScriptRunner, expiry: str, name: str = "one") -> int:
    return scripts.run("attachments_finish", [expiry], [name, ABANDONED_MS, EXPIRES_MS])


def now_ms(scripts: ScriptRunner) -> int:
    seconds, microseconds = scripts.redis.time()
    return seconds * 1000 + microseconds // 1000


def test_the_longest_overdue_are_claimed_first(scripts: ScriptRunner, expiry: str) -> None:
    """No more than asked for, and nothing that is not due."""
    scripts.redis.zadd(expiry, {"third": 3, "first": 1, "second": 2, "later": EXPIRES_MS})
    assert claim(scripts, expiry, 2) == [b"first", b"second"]
    assert claim(scripts, expiry) == [b"third"]
    assert claim(scripts, expiry) == []


def test_what_is_claimed_is_due_again_later(scripts: ScriptRunner, expiry: str) -> None:
    """It stays listed until its bytes are gone."""
    scripts.redis.zadd(expiry, {"one": 1})
    before = now_ms(scripts)
    claim(scripts, expiry)
    assert before + AGAIN_MS <= scripts.redis.zscore(expiry, "one") <= now_ms(scripts) + AGAIN_MS


def test_an_upload_is_finished(scripts: ScriptRunner, expiry: str) -> None:
    """It moves to its real expiry, to the millisecond; a repeat changes nothing."""
    scripts.redis.zadd(expiry, {"one": ABANDONED_MS})
    for _ in range(2):
        assert finish(scripts, expiry) == 1
        assert scripts.redis.zscore(expiry, "one") == EXPIRES_MS


def test_what_was_claimed_is_not_finished(scripts: ScriptRunner, expiry: str) -> None:
    """Its bytes may be gone."""
    scripts.redis.zadd(expiry, {"one": ABANDONED_MS})
    claim(scripts, expiry)
    due = scripts.redis.zscore(expiry, "one")
    assert finish(scripts, expiry) == 0
    assert scripts.redis.zscore(expiry, "one") == due


def test_what_was_never_begun_is_not_finished(scripts: ScriptRunner, expiry: str) -> None:
    """Nor entered by it."""
    assert finish(scripts, expiry) == 0
    assert not scripts.redis.exists(expiry)
