"""The clock that nodes share."""

import time

import pytest

from obscura.clock import SharedClock

START = 1_700_000_000.0


class Elapsed:
    now = 77.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize("wrong_by_secs", [-3600, 0, 3600])
def test_it_goes_by_redis(wrong_by_secs: float) -> None:
    """Whatever the machine's clock said before, and on from there."""
    elapsed = Elapsed()
    clock = SharedClock(lambda: START + wrong_by_secs, elapsed)
    assert clock() == START + wrong_by_secs
    clock.hear(START, elapsed())
    elapsed.now += 10
    assert clock() == START + 10


def test_the_machine_clock_is_asked_once() -> None:
    """Set while the process runs, it changes nothing."""
    wall = [START]
    clock = SharedClock(lambda: wall[0], Elapsed())
    wall[0] += 3600
    assert clock() == START


@pytest.mark.parametrize(
    ("redis_secs", "known_secs"), [(START - 4, START), (START - 7, START - 2), (START + 1, START + 1)]
)
def test_a_slow_answer_proves_little(redis_secs: float, known_secs: float) -> None:
    """Redis looked at some moment of five seconds: the clock moves no further than it must."""
    elapsed = Elapsed()
    clock = SharedClock(lambda: START, elapsed)
    clock.hear(redis_secs, elapsed() - 5)
    assert clock() == known_secs


def test_it_is_never_behind_what_redis_has_said() -> None:
    """A clock of Redis that was set ahead is followed at once; one that is behind proves nothing so late."""
    clock = SharedClock(lambda: START, Elapsed())
    clock.hear_at_least(START - 3600)
    assert clock() == START
    clock.hear_at_least(START + 3600)
    assert clock() == START + 3600


def test_it_counts_real_time() -> None:
    """By default it is the machine's time."""
    assert abs(SharedClock()() - time.time()) < 5
