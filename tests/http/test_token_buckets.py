"""Token buckets of one process: exact burst and refill, a truthful Retry-After, bounded memory."""

import math
import random

import pytest

from obscura.errors import TooManyRequests
from obscura.http.token_buckets import LocalTokenBuckets
from obscura.settings.limits import RateLimitConfig
from tests.support.inspection import metric

SECOND_NS = 1_000_000_000
RATES = [(10, 20), (1, 3), (0.1, 12), (1, 1), (3, 7), (1 / 7, 2), (1_000_000, 5)]


class Clock:
    def __init__(self) -> None:
        self.ns = 5 * SECOND_NS

    def __call__(self) -> int:
        return self.ns

    def advance(self, secs: float) -> None:
        self.ns += round(secs * SECOND_NS)


@pytest.fixture
def clock() -> Clock:
    return Clock()


def config(per_second: float, burst: int) -> RateLimitConfig:
    return RateLimitConfig("standard", per_second, burst, "Too many requests")


def refused_for(buckets: LocalTokenBuckets, client: str = "a") -> int:
    """Take a token; 0, or the Retry-After of the refusal."""
    try:
        buckets.take(client)
    except TooManyRequests as error:
        return error.retry_after_secs or 0
    return 0


@pytest.mark.parametrize(("per_second", "burst"), RATES)
def test_a_burst_is_exact(clock: Clock, per_second: float, burst: int) -> None:
    """A client that was idle is served just so often at once."""
    buckets = LocalTokenBuckets(config(per_second, burst), clock)
    assert [refused_for(buckets) for _ in range(burst)] == [0] * burst
    assert refused_for(buckets) >= 1


@pytest.mark.parametrize(("per_second", "burst"), RATES)
def test_a_token_comes_back_after_its_interval(clock: Clock, per_second: float, burst: int) -> None:
    """Not a nanosecond before it, and one at a time."""
    buckets = LocalTokenBuckets(config(per_second, burst), clock)
    for _ in range(burst):
        buckets.take("a")
    interval_ns = math.ceil(SECOND_NS / per_second)
    for _ in range(3):
        clock.ns += interval_ns - 1
        assert refused_for(buckets)
        clock.ns += 1
        assert refused_for(buckets) == 0
        assert refused_for(buckets)


@pytest.mark.parametrize(("per_second", "burst"), RATES)
def test_retry_after_is_true(clock: Clock, per_second: float, burst: int) -> None:
    """Whenever a client is refused: a retry after that many seconds succeeds, one a whole second earlier does not."""
    buckets = LocalTokenBuckets(config(per_second, burst), clock)
    rng = random.Random(f"{per_second} {burst}")
    refusals = 0
    for _ in range(2_000):
        clock.advance(rng.expovariate(per_second * 1.5))
        if secs := refused_for(buckets):
            refusals += 1
            if secs > 1:
                clock.advance(secs - 1)
                assert refused_for(buckets) == 1
                clock.advance(1)
            else:
                clock.advance(secs)
            assert refused_for(buckets) == 0
    assert refusals > 10


@pytest.mark.parametrize(("per_second", "burst"), RATES)
def test_a_clock_that_goes_back_makes_no_wait_longer(clock: Clock, per_second: float, burst: int) -> None:
    """No bucket is emptier than empty: after one interval there is a token again."""
    buckets = LocalTokenBuckets(config(per_second, burst), clock)
    clock.advance(1_000_000)
    for _ in range(burst):
        buckets.take("a")
    clock.advance(-900_000)
    secs = refused_for(buckets)
    assert 1 <= secs <= math.ceil(1 / per_second)
    assert refused_for(buckets)
    clock.ns += math.ceil(SECOND_NS / per_second)
    assert refused_for(buckets) == 0
    assert refused_for(buckets)


def test_over_a_long_time_a_client_gets_its_rate_and_one_burst(clock: Clock) -> None:
    """However a client spreads its requests, it is served no more than that."""
    buckets = LocalTokenBuckets(config(10, 20), clock)
    served = 0
    for _ in range(10_000):
        clock.advance(0.01)
        served += refused_for(buckets) == 0
    assert served == 20 + 100 * 10 - 1


def test_clients_do_not_share_a_bucket(clock: Clock) -> None:
    """One that is refused costs another nothing."""
    buckets = LocalTokenBuckets(config(1, 2), clock)
    for _ in range(5):
        refused_for(buckets, "a")
    assert [refused_for(buckets, "b") for _ in range(2)] == [0, 0]


def test_idle_clients_are_forgotten(clock: Clock) -> None:
    """When a bucket is full again nothing is left of its client."""
    buckets = LocalTokenBuckets(config(10, 20), clock)
    for number in range(1_000):
        buckets.take(str(number))
    clock.advance(2)
    buckets.take("a")
    clock.advance(2)
    buckets.take("a")
    assert len(buckets) <= 2


def test_all_are_forgotten_at_once_after_a_pause(clock: Clock) -> None:
    """The first request after a long silence finds empty tables."""
    buckets = LocalTokenBuckets(config(10, 20), clock)
    for number in range(1_000):
        buckets.take(str(number))
    clock.advance(4)
    buckets.take("a")
    assert len(buckets) == 1


def test_forgetting_gives_no_token_away(clock: Clock) -> None:
    """A client that others make the tables turn for is limited as if it were alone."""
    alone, among_others = LocalTokenBuckets(config(2, 3), clock), LocalTokenBuckets(config(2, 3), clock)
    rng = random.Random(3)
    for number in range(3_000):
        clock.advance(rng.expovariate(4))
        among_others.take(f"other {number}")
        assert refused_for(among_others) == refused_for(alone)


def test_a_flood_of_addresses_does_not_fill_the_memory(clock: Clock) -> None:
    """However many addresses there are, no more than twice the bound are remembered."""
    buckets = LocalTokenBuckets(config(1, 3), clock, max_clients=100)
    sizes = []
    for number in range(10_000):
        buckets.take(str(number))
        sizes.append(len(buckets))
    assert max(sizes) == 200


def test_a_flood_does_not_free_who_asked_lately(clock: Clock) -> None:
    """When the tables turn early, a client that is over its limit stays so for another table's worth of others."""
    buckets = LocalTokenBuckets(config(1, 50), clock, max_clients=100)
    served = 0
    for number in range(140):
        buckets.take(f"other {number}")
        served += refused_for(buckets) == 0
    assert served == 50


def test_refusals_are_counted(clock: Clock) -> None:
    """The metric says how often the tier refused."""
    before = metric("obscura_rate_limited_total", tier="standard")
    buckets = LocalTokenBuckets(config(1, 1), clock)
    assert [refused_for(buckets) for _ in range(3)] == [0, 1, 1]
    assert metric("obscura_rate_limited_total", tier="standard") == before + 2
