"""How fast one socket's frames are read."""

import pytest

from obscura.gateway.read_throttle import ReadThrottle


def test_as_many_as_an_inbox_holds_may_come_at_once() -> None:
    throttle = ReadThrottle(1000, 0.0)
    assert [throttle.pause_secs(100, 0.0) for _ in range(10)] == [0.0] * 10
    assert throttle.pause_secs(100, 0.0) == pytest.approx(0.1)


def test_who_sends_more_is_read_a_thousand_times_a_second() -> None:
    """However long it goes on: a pause makes up for the frames before it, and for no others."""
    throttle, now = ReadThrottle(0, 0.0), 0.0
    for _ in range(50):
        now += throttle.pause_secs(64, now)
    assert now == pytest.approx(50 * 64 / 1000)


def test_what_was_sent_may_be_acked() -> None:
    throttle = ReadThrottle(500, 0.0)
    for _ in range(100):
        assert throttle.pause_secs(64, 0.0) == 0.0
        throttle.allow(64)


def test_what_was_not_used_is_not_saved_up() -> None:
    """Neither by a long silence nor by many envelopes that nobody acked."""
    throttle = ReadThrottle(500, 0.0)
    throttle.allow(10_000)
    assert throttle.pause_secs(500, 1e6) == 0.0
    assert throttle.pause_secs(100, 1e6) == pytest.approx(0.1)
