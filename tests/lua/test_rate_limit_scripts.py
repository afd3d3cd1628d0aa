"""The scripts of the limits that all nodes share."""

import time
from collections.abc import Callable

import pytest

from tests.support.redis import RedisServer
from tests.support.scripts import ScriptRunner

KEY = "obscura:limit:test:script"
SECOND_US = 1_000_000

Run = Callable[..., int]


@pytest.fixture(autouse=True)
def fresh(scripts: ScriptRunner) -> None:
    scripts.redis.delete(KEY)


def take(scripts: ScriptRunner, interval_us: int = 1000 * SECOND_US, burst: int = 3) -> int:
    return int(scripts.run("rate_limit_take", [KEY], [interval_us, burst]))


def refund(scripts: ScriptRunner, interval_us: int = 1000 * SECOND_US, burst: int = 3) -> int:
    return int(scripts.run("rate_limit_give_back", [KEY], [interval_us, burst]))


def now_us(scripts: ScriptRunner) -> int:
    secs, us = scripts.redis.time()
    return int(secs) * SECOND_US + int(us)


@pytest.mark.parametrize("burst", [1, 3, 20])
def test_a_burst_is_exact(scripts: ScriptRunner, burst: int) -> None:
    """A full bucket gives its tokens and no more."""
    assert [take(scripts, burst=burst) for _ in range(burst)] == [0] * burst
    assert take(scripts, burst=burst) > 0


def test_the_wait_is_what_is_missing_of_an_interval(scripts: ScriptRunner) -> None:
    """The refusal names the milliseconds until the next token, from Redis's own clock."""
    for _ in range(3):
        take(scripts)
    full_us = int(scripts.redis.get(KEY))
    before_us = now_us(scripts)
    wait_ms = take(scripts)
    missing_us = full_us - 2 * 1000 * SECOND_US
    assert (missing_us - now_us(scripts)) / 1000 <= wait_ms <= (missing_us - before_us) / 1000 + 1


def test_a_token_is_there_when_the_wait_is_over(scripts: ScriptRunner) -> None:
    """Set to the moment at which just one token has come back, the bucket gives one."""
    scripts.redis.set(KEY, now_us(scripts) + 2 * 1000 * SECOND_US)
    assert take(scripts) == 0
    assert take(scripts) > 999_000


def test_a_refusal_takes_nothing(scripts: ScriptRunner) -> None:
    """Who keeps asking does not wait longer."""
    for _ in range(3):
        take(scripts)
    before = scripts.redis.get(KEY)
    assert all(take(scripts) > 0 for _ in range(5))
    assert scripts.redis.get(KEY) == before


def test_a_bucket_goes_when_it_is_full(scripts: ScriptRunner) -> None:
    """The key lives until then and no longer, so that idle clients take no memory."""
    take(scripts)
    assert 999_000 < scripts.redis.pttl(KEY) <= 1_000_000
    take(scripts)
    assert 1_999_000 < scripts.redis.pttl(KEY) <= 2_000_000


def test_no_wait_is_longer_than_an_interval(scripts: ScriptRunner) -> None:
    """After the clock or the limit was changed a client waits for one token at most."""
    scripts.redis.set(KEY, now_us(scripts) + 10**6 * SECOND_US)
    assert 0 < take(scripts) <= 1_000_000
    assert 0 < take(scripts, interval_us=SECOND_US) <= 1_000


def test_a_bucket_emptier_than_empty_fills_from_empty(scripts: ScriptRunner) -> None:
    """A refusal says when a token is there, and then it is, however far ahead the clock or the limit was before."""
    scripts.redis.set(KEY, now_us(scripts) + 10**6 * SECOND_US)
    assert take(scripts) > 0
    left_us = int(scripts.redis.get(KEY)) - now_us(scripts)
    assert 2_999 * SECOND_US < left_us <= 3_000 * SECOND_US
    assert 2_999_000 < scripts.redis.pttl(KEY) <= 3_000_000
    wait_ms = take(scripts, interval_us=50_000)
    assert 0 < wait_ms <= 50
    deadline = time.monotonic() + 5
    began = time.monotonic()
    while take(scripts, interval_us=50_000) and time.monotonic() < deadline:
        time.sleep(0.005)
    assert time.monotonic() - began < 2


def test_a_token_given_back_to_a_bucket_emptier_than_empty_can_be_taken(scripts: ScriptRunner) -> None:
    """A clock set back between the two takes nothing from who was counted for nothing."""
    scripts.redis.set(KEY, now_us(scripts) + 10**6 * SECOND_US)
    assert refund(scripts) == 1
    assert 1_999_000 < scripts.redis.pttl(KEY) <= 2_000_000
    assert take(scripts) == 0
    assert take(scripts) > 0


def test_a_token_given_back_can_be_taken_again(scripts: ScriptRunner) -> None:
    """It is as if it had not been taken."""
    for _ in range(3):
        take(scripts)
    assert refund(scripts) == 1
    assert take(scripts) == 0
    assert take(scripts) > 0


def test_the_last_token_given_back_leaves_nothing(scripts: ScriptRunner) -> None:
    """A full bucket is no key."""
    take(scripts)
    assert refund(scripts) == 1
    assert scripts.redis.exists(KEY) == 0


def test_a_full_bucket_takes_no_token_back(scripts: ScriptRunner) -> None:
    """So nobody gathers more than a burst."""
    assert [refund(scripts) for _ in range(5)] == [0] * 5
    assert [take(scripts) > 0 for _ in range(4)] == [False, False, False, True]


@pytest.mark.parametrize("interval_us", [1, 16_666_667, 1_000 * SECOND_US, 60_000 * SECOND_US])
def test_the_extremes_of_the_settings_are_served(scripts: ScriptRunner, interval_us: int) -> None:
    """The fastest and the slowest rate with the greatest burst are no error, and lose no precision in the text."""
    burst = 2**31 - 1
    assert take(scripts, interval_us, burst) == 0
    assert take(scripts, interval_us, burst) == 0
    assert refund(scripts, interval_us, burst) in {0, 1}


def test_a_redis_without_memory_still_counts(own_redis: RedisServer) -> None:
    """Logout goes through a limit, and is what makes room again."""
    scripts = ScriptRunner(own_redis)
    scripts.redis.config_set("maxmemory", 1)
    assert [take(scripts) > 0 for _ in range(4)] == [False, False, False, True]
    assert refund(scripts) == 1
    scripts.close()


def test_a_client_gets_a_burst_and_its_rate(scripts: ScriptRunner) -> None:
    """Over some time it is served that often and not once more, however often it asks."""
    interval_us, burst = 20_000, 50
    started = time.monotonic()
    served = 0
    while time.monotonic() - started < 0.4:
        served += take(scripts, interval_us, burst) == 0
    spent_us = (time.monotonic() - started) * SECOND_US
    assert burst + 10 < served <= burst + spent_us // interval_us + 1
