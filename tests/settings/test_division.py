"""How a number of the node becomes the numbers of its worker processes."""

import os

import pytest

from obscura.settings.division import Division, default_threads, part_of


def parts(whole: float, division: Division, workers: int) -> list[float]:
    return [part_of(whole, division, worker, workers) for worker in range(1, workers + 1)]


def test_a_count_is_divided_without_a_rest() -> None:
    """The first workers get one more."""
    assert parts(20, Division.COUNT, 3) == [7, 7, 6]
    assert parts(3, Division.COUNT, 3) == [1, 1, 1]


def test_a_rate_is_divided_equally() -> None:
    """However small it is."""
    assert parts(1.0, Division.RATE, 4) == [0.25] * 4


def test_each_worker_has_a_thread() -> None:
    """Also if there are fewer than workers."""
    assert parts(7, Division.THREADS, 2) == [3, 3]
    assert parts(1, Division.THREADS, 4) == [1] * 4


@pytest.mark.parametrize(("cores", "threads"), [(1, 1), (2, 1), (8, 7), (None, 1)])
def test_no_number_of_threads_leaves_the_event_loop_a_core(
    monkeypatch: pytest.MonkeyPatch, cores: int | None, threads: int
) -> None:
    """On any machine but the smallest, also on one that does not tell."""
    monkeypatch.setattr(os, "cpu_count", lambda: cores)
    assert default_threads() == threads
    assert parts(0, Division.THREADS, 1) == [threads]
