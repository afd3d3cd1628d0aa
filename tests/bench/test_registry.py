"""The rows of the registry and the modules of the scenarios are the same."""

from pathlib import Path

import pytest

from obscura.bench import scenarios
from obscura.bench.registry import SCENARIOS, load


def test_each_scenario_has_a_row() -> None:
    """A module without one could not be asked for."""
    modules = {file.stem for file in Path(scenarios.__path__[0]).glob("*.py")} - {"__init__"}
    assert modules == SCENARIOS.keys()


@pytest.mark.parametrize("name", SCENARIOS)
def test_each_row_has_a_scenario(name: str) -> None:
    """It measures something: the first operation is its throughput."""
    assert load(name).operations
