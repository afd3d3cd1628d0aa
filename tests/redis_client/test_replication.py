"""Writes that count only once replicas have them."""

import asyncio
import random
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from uuid import uuid4

import pytest

from obscura.errors import StoreUnavailable
from obscura.redis_client.commands import Standalone
from obscura.redis_client.endpoints import StaticEndpoint
from tests.support.inspection import metric
from tests.support.proxy import Proxy
from tests.support.redis7 import RedisProcess
from tests.support.waiting import eventually

pytestmark = pytest.mark.groups

IN_TIME_SECS = 4.0  # twice what it may take, on a busy machine


@pytest.fixture
async def master() -> AsyncIterator[RedisProcess]:
    async with RedisProcess("--repl-diskless-sync-delay", "0", appendfsync="no") as server:
        yield server


@pytest.fixture
async def replica(master: RedisProcess) -> AsyncIterator[RedisProcess]:
    async with RedisProcess("--replicaof", f"127.0.0.1 {master.port}", appendfsync="no") as server:
        with master.client() as client:
            await eventually(lambda: client.info("replication").get("slave0", {}).get("state") == "online")
        yield server


@pytest.fixture
async def commands(master: RedisProcess, replica: RedisProcess) -> AsyncIterator[Standalone]:
    commands = Standalone(StaticEndpoint(master.url, "obscura:test"), replicas=1)
    await commands.start()
    yield commands
    await commands.stop()


@contextmanager
def paused(server: RedisProcess) -> Iterator[None]:
    server.pause()
    try:
        yield
    finally:
        server.resume()


def waits(server: RedisProcess) -> int:
    """How often WAIT was called there."""
    with server.client() as client:
        return int(client.info("commandstats").get("cmdstat_wait", {}).get("calls", 0))


@pytest.mark.usefixtures("patience")
async def test_a_write_is_answered_when_a_replica_has_it(commands: Standalone, replica: RedisProcess) -> None:
    """It is there at that moment, not a little later."""
    with replica.client() as client:
        for number in range(200):
            assert await commands.call_replicated("INCR", "count") == number + 1
            assert client.get("count") == str(number + 1)


async def test_a_write_without_copies_is_unavailable(
    commands: Standalone, master: RedisProcess, replica: RedisProcess
) -> None:
    """In time, counted, and it did run; it works again when the replica does."""
    short = metric("obscura_redis_copies_short_total")
    with paused(replica):
        for number in range(2):
            async with asyncio.timeout(IN_TIME_SECS):
                with pytest.raises(StoreUnavailable, match="fewer than 1 replicas"):
                    await commands.call_replicated("INCR", "count")
            with master.client() as client:
                assert client.get("count") == str(number + 1)
    assert metric("obscura_redis_copies_short_total") == short + 2

    async def is_copied() -> bool:
        try:
            return bool(await commands.call_replicated("INCR", "count"))
        except StoreUnavailable:
            return False

    assert await eventually(is_copied)


@pytest.mark.usefixtures("patience")
async def test_many_writes_share_a_wait(commands: Standalone, master: RedisProcess, replica: RedisProcess) -> None:
    """The more are under way the more share one."""
    before = waits(master)
    replies = await asyncio.gather(*(commands.call_replicated("INCR", "count") for _ in range(2_000)))
    assert sorted(replies) == list(range(1, 2_001))
    assert 0 < waits(master) - before < 200
    with replica.client() as client:
        assert client.get("count") == "2000"


async def test_other_calls_are_not_held_up(commands: Standalone, replica: RedisProcess) -> None:
    """Reads and acks go on while writes wait for a replica that hangs."""
    with paused(replica):
        waiting = asyncio.create_task(commands.call_replicated("SET", "key", "value"))
        await eventually(lambda: commands._replicated is not None and commands._replicated._is_waiting)
        assert await commands.call("GET", "key") == b"value"
        assert await commands.call("DEL", "key") == 1
        assert not waiting.done()
        with pytest.raises(StoreUnavailable):
            await waiting


@pytest.mark.usefixtures("patience")
async def test_a_refused_command_is_not_taken_for_a_missing_copy(commands: Standalone, replica: RedisProcess) -> None:
    """Its own error comes at once, and the next write is answered."""
    with pytest.raises(Exception, match="WRONGTYPE"):
        await asyncio.gather(commands.call_replicated("SET", "key", "x"), commands.call_replicated("LPUSH", "key", "x"))
    assert await commands.call_replicated("SET", "key", "y") == b"OK"


@pytest.mark.usefixtures("patience")
async def test_every_answer_belongs_to_its_request_though_others_are_cancelled(commands: Standalone) -> None:
    """5,000 of 10,000 writes are cancelled at random points: the others get their own replies."""
    chance = random.Random(13)

    async def write(number: int) -> None:
        for _ in range(chance.randrange(4)):
            await asyncio.sleep(0)
        key = f"key:{number}"
        assert await commands.call_replicated("SET", key, number, "GET") is None
        assert await commands.call_replicated("SET", key, "x", "GET") == b"%d" % number

    async def cancel(task: asyncio.Task[None]) -> None:
        for _ in range(chance.randrange(16)):
            await asyncio.sleep(0)
        task.cancel()

    for turn in range(5):
        tasks = [asyncio.create_task(write(turn * 2_000 + number)) for number in range(2_000)]
        await asyncio.gather(*(cancel(task) for task in tasks[::2]))
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        assert {repr(outcome) for outcome in outcomes[1::2]} == {"None"}
        assert sum(isinstance(outcome, asyncio.CancelledError) for outcome in outcomes[::2]) > 500


async def test_a_connection_lost_before_the_copy_is_known_is_no_success(
    master: RedisProcess, replica: RedisProcess
) -> None:
    """The write was answered, the WAIT was not: a new connection knows nothing of it and must not vouch for it."""
    async with Proxy(("127.0.0.1", master.port)) as proxy:
        commands = Standalone(StaticEndpoint(proxy.redis_url, "obscura:test"), replicas=1)
        await commands.start()
        copied = commands._replicated
        assert copied is not None
        for turn in range(5):
            key = f"test:{uuid4()}"
            with paused(replica):
                writes = [asyncio.create_task(commands.call_replicated("INCR", key)) for _ in range(10)]
                await eventually(lambda: copied._is_waiting)
                writes += [asyncio.create_task(commands.call_replicated("INCR", key)) for _ in range(10)]
                if turn % 2:
                    await asyncio.sleep(0)
                proxy.reset()
                outcomes = await asyncio.gather(*writes, return_exceptions=True)
            assert {type(outcome) for outcome in outcomes} == {StoreUnavailable}
            await eventually(lambda: copied.connection.is_connected and commands.connection.is_connected)
        await commands.stop()
