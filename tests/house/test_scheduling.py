"""The schedule of the tests names modules that there are."""

from pathlib import Path

import pytest

from tests.support import scheduling

TESTS = Path(__file__).parents[1]


@pytest.mark.parametrize("module", sorted({*scheduling._SECS, *scheduling._PARTS}))
def test_a_module_of_the_schedule_exists(module: str) -> None:
    """One that was renamed would be begun last, and be waited for."""
    assert (TESTS / module).is_file()
