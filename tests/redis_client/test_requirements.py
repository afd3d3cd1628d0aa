import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from functools import partial

import pytest

from obscura.embedded_redis import binary as redis_binary
from obscura.errors import StartupError, UnfitRedis
from obscura.redis_client.client import RedisClient
from obscura.redis_client.commands import Standalone
from obscura.redis_client.data_mark import RememberedMark
from obscura.redis_client.endpoints import StaticEndpoint
from obscura.redis_client.pubsub import Callbacks
from obscura.redis_client.requirements import Needs, check_info
from obscura.redis_client.slot_map import SLOTS
from obscura.redis_client.vetting import Vetting
from obscura.store import keyspace
from tests.support.ports import free_port
from tests.support.redis import RedisServer

BUS_OFFSET = 10_000  # how far the port of the Cluster's bus lies from the other one; Redis 6.2 knows no option for it
MAX_PORT = 65_535


@pytest.fixture
def bare_redis() -> Iterator[RedisServer]:
    """A Redis that the test starts with options of its own."""
    server = RedisServer()
    yield server
    server.remove()


async def connect(server: RedisServer) -> Standalone:
    connection = Standalone(StaticEndpoint(server.url, "obscura:test"), vetting=Vetting(Needs(), RememberedMark(())))
    await connection.start()
    return connection


@pytest.fixture
async def connection(redis_server: RedisServer) -> AsyncIterator[Standalone]:
    connection = await connect(redis_server)
    yield connection
    await connection.stop()


async def test_a_redis_that_keeps_everything_is_fine(connection: Standalone, caplog: pytest.LogCaptureFixture) -> None:
    """The Redis of the tests writes a file and evicts nothing: not a word."""
    await connection.connection.look()
    assert caplog.records == []


async def test_a_redis_that_evicts_is_refused(bare_redis: RedisServer) -> None:
    """It would drop accounts and messages silently when its memory is full."""
    bare_redis.start("--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru")
    with pytest.raises(UnfitRedis, match="maxmemory-policy allkeys-lru"):
        await connect(bare_redis)


async def test_a_redis_without_a_file_is_warned_of(bare_redis: RedisServer, caplog: pytest.LogCaptureFixture) -> None:
    """It may be meant so, but what was acknowledged can be lost."""
    connection = await connect(bare_redis.start("--appendonly", "no"))
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    await connection.stop()


async def test_a_policy_that_cannot_bite_yet_is_warned_of(
    bare_redis: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    """Without a memory limit nothing is evicted, until somebody sets one."""
    connection = await connect(bare_redis.start("--maxmemory-policy", "volatile-ttl"))
    assert [record.levelno for record in caplog.records] == [logging.WARNING]
    await connection.stop()


@pytest.mark.parametrize("version", ["2.8.19", "5.0.14", "6.0.16", "6.1.240"])
def test_a_redis_that_is_too_old_is_refused(version: str) -> None:
    """The scripts need commands of 6.2."""
    with pytest.raises(StartupError, match=f"Redis {version} is too old"):
        check_info({"redis_version": version})


@pytest.fixture
def old_cluster() -> Iterator[str]:
    """The address of a Cluster of one server of Redis 6.2, the one that the `embedded` extra brings."""
    program = redis_binary._bundled()
    if program is None or redis_binary._version(program) >= (7, 0):
        pytest.skip("there is no redis-server 6.2 on this machine")
    port = next(port for port in iter(free_port, None) if port + BUS_OFFSET <= MAX_PORT)
    server = RedisServer(program)
    try:
        server.start("--port", str(port), "--bind", "127.0.0.1", "--cluster-enabled", "yes")
        with server.client as client:
            client.execute_command("CLUSTER ADDSLOTS", *range(SLOTS))
        yield f"127.0.0.1:{port}"
    finally:
        server.remove()


@pytest.mark.parametrize("scheme", ["redis+cluster", "redis"])
async def test_a_cluster_without_sharded_events_is_refused(old_cluster: str, scheme: str) -> None:
    """It would do everything but deliver; one sentence says which version is needed, also for one addressed alone."""
    database = RedisClient(
        f"{scheme}://{old_cluster}",
        "node",
        0,
        partial(keyspace.probe, "node"),
        Callbacks(lambda *_: None, lambda _: None),
    )
    with pytest.raises(StartupError, match=r"^Redis 6\.2\.\d+ is too old for a Cluster: 7\.0 or later is needed$"):
        await database.start(())
    await database.stop()


@pytest.mark.parametrize("version", ["6.2.0", "7.0.15", "7.2.4", "8.0", "10.1.0"])
def test_a_redis_of_6_2_or_later_is_taken(version: str) -> None:
    """Versions compare by number, not by letter."""
    check_info({"redis_version": version})


async def test_many_connections_leave_nothing_behind(redis_server: RedisServer) -> None:
    """Opening and stopping a connection ends its tasks and its socket."""
    before = len(asyncio.all_tasks())
    for _ in range(5):
        connection = await connect(redis_server)
        await connection.call("PING")
        await connection.stop()
    assert len(asyncio.all_tasks()) == before
