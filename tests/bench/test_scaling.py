"""The model behind docs/scaling.md: what follows from constants that are easy to reckon with."""

from dataclasses import replace

import pytest

from benchmarks.model import Constants, Habits, Limits, first_limits, highest_rate, needs

COST = Constants(
    node_cpu_us=200,
    redis_cpu_us=50,
    generator_cpu_us=50,
    client_bytes=1000,
    redis_bytes=2000,
    socket_bytes=16_384,
    socket_redis_bytes=200,
    account_bytes=2000,
    pre_key_bytes=50,
    session_bytes=300,
    message_bytes=600,
)
HABITS = Habits(
    messages_per_day=43.2, peak_factor=2, online_share=0.1, pending_each=1, sessions_each=2, pre_keys_each=10
)
LIMITS = Limits(node_sockets=10_000, redis_bytes=1e9)


def test_needs_follow_from_the_constants() -> None:
    """A million users send 1,000 messages a second at the peak and have 100,000 sockets."""
    found = needs(1_000_000, COST, HABITS, LIMITS)
    assert found.messages_per_sec == pytest.approx(1000)
    assert found.sockets == 100_000
    assert (found.nodes_for_cpu, found.nodes_for_sockets, found.nodes) == (1, 10, 10)
    assert found.redis_memory_bytes == pytest.approx(1_000_000 * (2000 + 500 + 300 + 600) + 100_000 * 200)
    assert (found.shards_for_cpu, found.shards_for_memory, found.shards) == (1, 4, 4)
    assert found.client_bits_per_sec == pytest.approx(8e6)


def test_ten_times_the_users_need_ten_times_the_machines() -> None:
    """Nothing in the model grows faster than the users."""
    few, many = needs(10_000_000, COST, HABITS, LIMITS), needs(100_000_000, COST, HABITS, LIMITS)
    assert many.nodes_for_sockets == 10 * few.nodes_for_sockets
    assert many.redis_memory_bytes == pytest.approx(10 * few.redis_memory_bytes)


def test_what_is_scarcest_ends_first() -> None:
    """The order of the limits is that of the users at which they are met."""
    limits = first_limits(COST, HABITS, LIMITS)
    assert limits[0] == ("number of sockets of the node", 100_000)
    assert [users for _, users in limits] == sorted(users for _, users in limits)


def test_the_highest_rate_is_that_of_the_scarcest_part() -> None:
    """Nodes, Redis or the processors that they share, whichever ends first."""
    assert highest_rate(1, 100, COST) == pytest.approx(5000)
    assert highest_rate(10, 100, COST) == pytest.approx(20_000)
    assert highest_rate(10, 3, COST) == pytest.approx(10_000)
    assert highest_rate(10, 100, replace(COST, redis_cpu_us=500)) == pytest.approx(2000)
