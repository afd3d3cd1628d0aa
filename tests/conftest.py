"""What every test may ask for: a real Redis, real nodes on it, and clients of them."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from redis import Redis

from obscura.node.node import Node
from obscura.settings.model import Settings
from tests.support import cheap_passwords, fork_server
from tests.support.client import Api
from tests.support.limits import NO_LIMITS
from tests.support.redis import RedisServer

if TYPE_CHECKING:
    from xdist.scheduler import LoadScopeScheduling

JWT_SECRET = "a secret of the tests that is long enough"

StartNode = Callable[..., Awaitable[Node]]


def pytest_sessionstart() -> None:
    fork_server.install()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    fork_server.is_enabled = item.get_closest_marker("real_start") is None
    is_cheap = item.get_closest_marker("real_passwords") is None
    cheap_passwords.set_costs(*(cheap_passwords.CHEAP_COSTS if is_cheap else cheap_passwords.REAL_COSTS))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> "LoadScopeScheduling":
    from tests.support.scheduling import LongestFirst

    return LongestFirst(config, log)


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """One Redis for all tests: each makes users of its own, so none needs it empty."""
    server = RedisServer().start()
    yield server
    server.remove()


@pytest.fixture
def redis(redis_server: RedisServer) -> Iterator["Redis"]:
    """A client of the Redis that all tests share, to look at what a node did there; it speaks text."""
    with redis_server.client as client:
        yield client


@pytest.fixture
def redis_bytes(redis_server: RedisServer) -> Iterator["Redis"]:
    """The same, and it speaks bytes."""
    with Redis(unix_socket_path=str(redis_server.path)) as client:
        yield client


@pytest.fixture
def own_redis() -> Iterator[RedisServer]:
    """A Redis for one test to hurt."""
    server = RedisServer().start()
    yield server
    server.remove()


@pytest.fixture
async def start_node(redis_server: RedisServer, tmp_path: Path) -> AsyncIterator[StartNode]:
    """Starts a node in this process; keyword arguments are settings, and its clock. All are stopped at the end."""
    async with AsyncExitStack() as running:

        async def start(now: Callable[[], float] = time.time, **changes: Any) -> Node:
            values: dict[str, Any] = {
                "host": "127.0.0.1",
                "port": 0,
                "mgmt_port": 0,
                "data_dir": tmp_path,
                "redis_url": redis_server.url,
                "jwt_secret": JWT_SECRET,
                "shutdown_timeout_secs": 2,
                **NO_LIMITS,
            }
            node = Node(Settings(**values | changes), now=now)
            await node.start()
            running.push_async_callback(node.stop)
            return node

        yield start


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(20)) as session:
        yield session
    await asyncio.sleep(0)


@pytest.fixture
async def node(start_node: StartNode) -> Node:
    return await start_node()


@pytest.fixture
async def api(node: Node, session: aiohttp.ClientSession) -> Api:
    """Calls to one node with default settings."""
    return Api(session, node.api_port)


@pytest.fixture
async def two_apis(start_node: StartNode, session: aiohttp.ClientSession) -> tuple[Api, Api]:
    """Calls to two nodes on one Redis."""
    first, second = await start_node(), await start_node()
    return Api(session, first.api_port), Api(session, second.api_port)


@pytest.fixture
async def connect_api(session: aiohttp.ClientSession) -> Callable[[Node], Api]:
    return lambda node: Api(session, node.api_port)
