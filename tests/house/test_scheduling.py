"""The schedule of the tests names modules that there are, and every fault scenario has its group."""

from pathlib import Path

import pytest

from tests.faults.scenarios import RELAYS
from tests.support import scheduling

TESTS = Path(__file__).parents[1]


@pytest.mark.parametrize("module", sorted({*scheduling._SECS, *scheduling._PARTS}))
def test_a_module_of_the_schedule_exists(module: str) -> None:
    """One that was renamed would be begun last, and be waited for."""
    assert (TESTS / module).is_file()


@pytest.mark.parametrize("scenario", [one.name for relay in RELAYS for one in relay.scenarios if one.times[False]])
def test_a_fault_scenario_has_a_group(scenario: str) -> None:
    """Those of one group are for one kind of relay."""
    group = scheduling.group_of(f"tests/faults/test_scenarios.py::test[{scenario}]")
    kind = int(group.partition("::")[2].partition(".")[0])
    assert scenario in {one.name for one in RELAYS[kind].scenarios}
