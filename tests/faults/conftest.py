"""One relay for all faults of a run: each scenario brings it back to health."""

import os
import secrets
from collections.abc import AsyncIterator

import pytest_asyncio

from tests.faults.ground import Ground, standalone


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def ground() -> AsyncIterator[Ground]:
    """TEST_FAULTS_SEED repeats the faults of a run that failed and named its seed."""
    seed = int(os.environ.get("TEST_FAULTS_SEED", secrets.randbits(32)))
    async with standalone(seed) as ground:
        yield ground
