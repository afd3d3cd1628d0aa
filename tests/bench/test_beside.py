"""How two checkouts that were measured in turns are compared."""

import math
from pathlib import Path

import pytest

from benchmarks.beside import checkout_of, mean_and_error


def test_ratios_are_averaged_as_ratios() -> None:
    """Twice as fast in one round and half as fast in the next is the same."""
    mean, error = mean_and_error([2.0, 0.5])
    assert mean == pytest.approx(1)
    assert error == pytest.approx(math.log(2))


def test_rounds_that_agree_have_no_error_and_a_single_one_has_none_that_is_known() -> None:
    assert mean_and_error([1.02, 1.02]) == pytest.approx((1.02, 0))
    mean, error = mean_and_error([0.9])
    assert mean == pytest.approx(0.9)
    assert math.isnan(error)


def test_a_folder_is_a_checkout_as_it_is(tmp_path: Path) -> None:
    """Only of a commit one is made."""
    with checkout_of(str(tmp_path)) as path:
        assert path == tmp_path.resolve()
