"""One relay of each kind for all its faults: each scenario brings it back to health."""

import os
import secrets
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.faults.testbed import Testbed


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def testbed(request: pytest.FixtureRequest) -> AsyncIterator[Testbed]:
    """A relay of the parameter's kind. TEST_FAULTS_SEED repeats the faults of a run that failed and named its seed."""
    seed = int(os.environ.get("TEST_FAULTS_SEED", secrets.randbits(32)))
    async with request.param.open(seed) as testbed:
        yield testbed
