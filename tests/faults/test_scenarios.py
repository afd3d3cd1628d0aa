"""Every fault, briefly: real processes, a steady load, and a history in which every promise was kept."""

import pytest

from tests.faults.report import table
from tests.faults.scenarios import RELAYS, Scenario
from tests.faults.testbed import Testbed

pytestmark = [pytest.mark.faults, pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(180)]


SHORT = [
    pytest.param(relay, scenario, id=scenario.name)
    for relay in RELAYS
    for scenario in relay.scenarios
    if scenario.times[False]
]


@pytest.mark.parametrize(("testbed", "scenario"), SHORT, indirect=["testbed"], scope="session")
async def test_every_promise_is_kept_under(scenario: Scenario, testbed: Testbed) -> None:
    found = await scenario.run(testbed, is_long=False)
    assert not found.faults, f"TEST_FAULTS_SEED={testbed.seed}\n{table([found])}"
    assert found.repetitions > 0
