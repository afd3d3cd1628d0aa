"""lua/leases_*.lua, one at a time: only the holder renews and gives back."""

from collections.abc import Iterator
from uuid import uuid4

import pytest

from tests.support.scripts import ScriptRunner

HOLD_MS = 60_000


@pytest.fixture
def lease(scripts: ScriptRunner) -> Iterator[str]:
    """The name of a lease that "holder" holds for a second."""
    key = f"test:{uuid4()}"
    scripts.redis.set(key, "holder", px=1000)
    yield key
    scripts.redis.delete(key)


def test_the_holder_renews(scripts: ScriptRunner, lease: str) -> None:
    """For so long from now on."""
    assert scripts.run("leases_renew", [lease], ["holder", HOLD_MS]) == 1
    assert 1000 < scripts.redis.pttl(lease) <= HOLD_MS


def test_the_holder_gives_back(scripts: ScriptRunner, lease: str) -> None:
    """Once; a repeat does nothing."""
    assert scripts.run("leases_release", [lease], ["holder"]) == 1
    assert not scripts.redis.exists(lease)
    assert scripts.run("leases_release", [lease], ["holder"]) == 0


@pytest.mark.parametrize("script", ["leases_renew", "leases_release"])
def test_nobody_else_does(scripts: ScriptRunner, lease: str, script: str) -> None:
    """The lease of another stays as it is, and one that ran out does not come back."""
    assert scripts.run(script, [lease], ["another", HOLD_MS][: 2 if script == "leases_renew" else 1]) == 0
    assert scripts.redis.get(lease) == b"holder"
    assert scripts.redis.pttl(lease) <= 1000
    scripts.redis.delete(lease)
    assert scripts.run(script, [lease], ["holder", HOLD_MS][: 2 if script == "leases_renew" else 1]) == 0
    assert not scripts.redis.exists(lease)


def test_a_lease_is_taken_by_one_alone(scripts: ScriptRunner, lease: str) -> None:
    """While it is held it stays its holder's, whoever asks, the holder too; then it is free."""
    assert [scripts.run("leases_take", [lease], [token, HOLD_MS]) for token in ("other", "holder")] == [0, 0]
    assert (scripts.redis.get(lease), scripts.redis.pttl(lease) <= 1000) == (b"holder", True)
    scripts.redis.delete(lease)
    assert scripts.run("leases_take", [lease], ["other", HOLD_MS]) == 1
    assert scripts.redis.get(lease) == b"other"
    assert 1000 < scripts.redis.pttl(lease) <= HOLD_MS
