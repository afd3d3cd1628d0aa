"""What the tests of the Lua scripts may ask for beside the fixtures of tests/conftest.py."""

from collections.abc import Iterator

import pytest

from tests.support.redis import RedisServer
from tests.support.scripts import ScriptRunner


@pytest.fixture
def scripts(redis_server: RedisServer) -> Iterator[ScriptRunner]:
    """Runs one script on the Redis that all tests share."""
    runner = ScriptRunner(redis_server)
    yield runner
    runner.close()
