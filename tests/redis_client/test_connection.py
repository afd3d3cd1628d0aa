"""The command connection: whose reply is whose, and what happens when there is none."""

import asyncio
import random
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack

import hiredis
import pytest

from obscura.errors import StoreUnavailable
from obscura.redis_client.connection import CommandConnection
from obscura.redis_client.endpoints import StaticEndpoint
from tests.support.proxy import Proxy
from tests.support.redis import RedisServer
from tests.support.waiting import eventually

pytestmark = pytest.mark.libraries

Connect = Callable[[str], Awaitable[CommandConnection]]

HANG_SECS = 4.0  # a call that takes longer hangs: it should be over within 2 s


@pytest.fixture
async def connect() -> AsyncIterator[Connect]:
    """Opens connections, all closed at the end."""
    async with AsyncExitStack() as running:

        async def connect(url: str) -> CommandConnection:
            connection = CommandConnection(StaticEndpoint(url, "obscura:test"))
            await connection.start()
            running.push_async_callback(connection.stop)
            return connection

        yield connect


async def fails(connection: CommandConnection, *command: str) -> bool:
    """Whether a call fails as it should, without hanging."""
    async with asyncio.timeout(HANG_SECS):
        try:
            await connection.call(*command)
        except StoreUnavailable:
            return True
    return False


async def test_every_answer_belongs_to_its_request_though_others_are_cancelled(
    connect: Connect, redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """5,000 of 10,000 calls are cancelled at random points: the others get their own replies."""
    monkeypatch.setattr("obscura.redis_client.connection.REPLY_TIMEOUT_SECS", 30.0)  # on a busy machine
    connection = await connect(redis_server.url)
    chance = random.Random(7)

    async def echo(number: int) -> None:
        for _ in range(chance.randrange(4)):
            await asyncio.sleep(0)  # begin in different ticks
        text = f"{number} " * chance.choice([1, 20, 1_000])
        assert await connection.call("ECHO", text) == text.encode()

    async def cancel(task: asyncio.Task[None]) -> None:
        for _ in range(chance.randrange(12)):
            await asyncio.sleep(0)  # some before they were sent, some with their reply under way
        task.cancel()

    tasks = [asyncio.create_task(echo(number)) for number in range(10_000)]
    await asyncio.gather(*(cancel(task) for task in tasks[::2]))
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert {type(outcome) for outcome in outcomes[1::2]} == {type(None)}
    cancelled = [outcome for outcome in outcomes[::2] if isinstance(outcome, asyncio.CancelledError)]
    assert len(cancelled) > 4_000
    assert await connection.call("ECHO", "in step") == b"in step"


async def test_a_call_that_waits_for_a_killed_redis_fails(connect: Connect, own_redis: RedisServer) -> None:
    """Those under way and those made meanwhile; and it works again by itself when Redis is back."""
    connection = await connect(own_redis.url)
    waiting = [asyncio.create_task(fails(connection, "BLPOP", "nothing", "0")) for _ in range(50)]
    await eventually(lambda: connection._pending)
    own_redis.kill()
    assert all(await asyncio.gather(*waiting))
    assert all(await asyncio.gather(*(fails(connection, "PING") for _ in range(50))))
    assert not connection.is_connected
    own_redis.start()
    await eventually(lambda: connection.is_connected)
    assert await connection.call("PING") == b"PONG"


async def test_a_call_to_a_redis_that_hangs_fails(connect: Connect, own_redis: RedisServer) -> None:
    """No reply is no reason to wait: those under way and those made meanwhile fail; then all is well again."""
    connection = await connect(own_redis.url)
    assert own_redis.process is not None
    own_redis.process.send_signal(signal.SIGSTOP)
    try:
        for _ in range(2):
            assert all(await asyncio.gather(*(fails(connection, "PING") for _ in range(20))))
    finally:
        own_redis.process.send_signal(signal.SIGCONT)

    async def answers() -> bool:
        return not await fails(connection, "PING")

    await eventually(answers)


async def test_nothing_is_sent_twice(connect: Connect, redis_server: RedisServer) -> None:
    """A command whose reply was lost is the caller's to repeat: it ran once."""
    async with Proxy(redis_server.path) as proxy:
        connection = await connect(proxy.redis_url)
        key = f"test:{random.getrandbits(64)}"
        for proxied in proxy.connections:
            proxied.swallows_replies = True
        assert all(await asyncio.gather(*(fails(connection, "INCR", key) for _ in range(10))))
        with redis_server.client as client:
            assert client.getdel(key) == "10"
        await eventually(lambda: connection.is_connected)


async def test_a_connection_that_breaks_is_made_again(connect: Connect, redis_server: RedisServer) -> None:
    """Broken by the network again and again under load: calls fail or succeed, none hangs or is mixed up."""
    async with Proxy(redis_server.path) as proxy:
        connection = await connect(proxy.redis_url)
        answers: list[bool] = []

        async def call_many(number: int) -> None:
            for turn in range(100):
                text = f"{number} {turn}".encode()
                try:
                    async with asyncio.timeout(HANG_SECS):
                        answers.append(await connection.call("ECHO", text) == text)
                except StoreUnavailable:
                    pass

        calling = asyncio.gather(*(call_many(number) for number in range(20)))
        for count in (200, 400, 600):
            await eventually(lambda count=count: len(answers) > count or calling.done())
            proxy.reset()
        await calling
        assert all(answers)
        await eventually(lambda: connection.is_connected)


async def test_redis_that_refuses_for_now_is_unavailable(connect: Connect, own_redis: RedisServer) -> None:
    """Out of memory is no fault of the command."""
    connection = await connect(own_redis.url)
    with own_redis.client as client:
        client.config_set("maxmemory", "1")
    assert await fails(connection, "SET", "key", "value")
    assert not await fails(connection, "PING")


async def test_a_wrong_command_is_an_error_of_its_own(connect: Connect, redis_server: RedisServer) -> None:
    """Not taken for Redis being away, and no other call's."""
    connection = await connect(redis_server.url)
    wrong, right = await asyncio.gather(
        connection.call("NONSENSE"), connection.call("ECHO", "fine"), return_exceptions=True
    )
    assert isinstance(wrong, hiredis.ReplyError)
    assert right == b"fine"


async def test_redis_that_does_not_keep_up_gets_no_more(connect: Connect, own_redis: RedisServer) -> None:
    """What waits for it in memory is bounded in bytes: past the bound calls fail at once."""
    connection = await connect(own_redis.url)
    assert own_redis.process is not None
    own_redis.process.send_signal(signal.SIGSTOP)
    value = bytes(2**20)
    calls: list[asyncio.Task[bool]] = []
    try:
        while not any(call.done() for call in calls):
            calls.append(asyncio.create_task(fails(connection, "SET", "key", value)))  # type: ignore[arg-type]
            await asyncio.sleep(0)  # it leaves
        assert 64 <= len(calls) <= 80
    finally:
        own_redis.process.send_signal(signal.SIGCONT)
    await asyncio.gather(*calls)


@pytest.mark.parametrize("url", ["unix:///nowhere/redis.sock", "redis://127.0.0.1:1"])
async def test_a_start_without_redis_fails(connect: Connect, url: str) -> None:
    """Nobody listens there."""
    with pytest.raises(StoreUnavailable):
        await connect(url)


async def test_a_start_with_a_silent_redis_fails(connect: Connect, redis_server: RedisServer) -> None:
    """Somebody listens and says nothing."""
    async with Proxy(redis_server.path) as proxy:
        proxy.is_silent = True
        with pytest.raises(StoreUnavailable):
            await connect(proxy.redis_url)


async def test_a_stop_in_the_middle_of_everything_leaves_nothing_behind(redis_server: RedisServer) -> None:
    """Calls under way fail; no task, no connection is left; calls made later fail, too."""
    tasks_before = asyncio.all_tasks()
    async with Proxy(redis_server.path) as proxy:
        connection = CommandConnection(StaticEndpoint(proxy.redis_url, "obscura:test"))
        await connection.start()
        calls = [asyncio.create_task(fails(connection, "BLPOP", "nothing", "0")) for _ in range(10)]
        await eventually(lambda: connection._pending)
        await connection.stop()
        assert all(await asyncio.gather(*calls))
        assert await fails(connection, "PING")
        await eventually(lambda: not proxy.connections)
    assert asyncio.all_tasks() == tasks_before


async def test_a_stop_while_it_reconnects_leaves_nothing_behind(redis_server: RedisServer) -> None:
    """Cancelled in the middle of the handshake, it closes what it opened."""
    tasks_before = asyncio.all_tasks()
    async with Proxy(redis_server.path) as proxy:
        connection = CommandConnection(StaticEndpoint(proxy.redis_url, "obscura:test"))
        await connection.start()
        proxy.is_silent = True
        proxy.reset()
        await eventually(lambda: not connection.is_connected and any(proxied.said for proxied in proxy.connections))
        await connection.stop()
        await eventually(lambda: not proxy.connections)
    assert asyncio.all_tasks() == tasks_before
