"""What the tests of services may ask for beside the fixtures of tests/conftest.py."""

from collections.abc import AsyncIterator
from functools import partial

import pytest

from obscura.redis_client.client import RedisClient
from obscura.redis_client.pubsub import Callbacks
from obscura.store import keyspace
from tests.support.redis import RedisServer


@pytest.fixture
async def database(own_redis: RedisServer) -> AsyncIterator[RedisClient]:
    """A connection of the test's own, to take single steps."""
    callbacks = Callbacks(lambda *_: None, lambda _: None)
    database = RedisClient(own_redis.url, "test", 0, partial(keyspace.probe, "test"), callbacks)
    await database.start(())
    yield database
    await database.stop()
