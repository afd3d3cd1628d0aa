"""Why Redis cannot be reached is told once in an outage, and when it changes."""

import logging
import signal
from collections.abc import AsyncIterator

import pytest

from obscura.errors import StoreUnavailable
from obscura.redis_client import outage_log
from obscura.redis_client.client import RedisClient
from obscura.redis_client.outage_log import OutageLog
from obscura.redis_client.pubsub import Callbacks
from tests.support.redis import RedisServer
from tests.support.waiting import eventually

PASSWORD = "the relay's secret of Redis"


@pytest.fixture
async def client(own_redis: RedisServer) -> AsyncIterator[RedisClient]:
    def probe(number: int | None = None) -> str:
        return "obscura:test:outages"

    client = RedisClient(own_redis.url, "obscura:test", 0, probe, Callbacks(lambda *_: None, lambda _: None))
    await client.start(())
    yield client
    await client.stop()


def reasons(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.reason for record in caplog.records if record.name == outage_log.__name__]


async def attempts(client: RedisClient, count: int) -> None:
    """Wait until so many more connections were tried in vain."""
    connection, seen = client.commands.masters[0], set()  # type: ignore[index]

    def tried() -> bool:
        seen.add(id(connection.trouble))
        held.append(connection.trouble)  # so that no two have one address
        return len(seen) > count

    held: list[object] = []
    await eventually(tried)


async def test_each_reason_is_told_once_in_an_outage(
    client: RedisClient, own_redis: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    """Of the commands and the events together, however often they try; a new reason when it changes."""
    own_redis.kill()
    await attempts(client, 4)
    assert len(reasons(caplog)) == 1
    assert "connecting to" in reasons(caplog)[0]
    own_redis.start("--maxmemory", "1gb", "--maxmemory-policy", "allkeys-lru")
    await eventually(lambda: len(reasons(caplog)) == 2)
    await attempts(client, 3)
    assert len(reasons(caplog)) == 2
    with own_redis.client as redis:
        redis.config_set("maxmemory", 0)
    await eventually(lambda: client.is_connected and client.events.is_healthy)
    caplog.clear()
    own_redis.kill()
    await eventually(lambda: len(reasons(caplog)) == 1)


async def test_a_wrong_password_is_named(
    client: RedisClient, own_redis: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    """And not told."""
    with own_redis.client as redis:
        redis.config_set("requirepass", PASSWORD)
        redis.client_kill_filter(skipme=True, _type="normal")
        await eventually(lambda: reasons(caplog) == ["cannot connect to Redis: Authentication required."])
    await attempts(client, 3)
    assert len(reasons(caplog)) == 1
    assert PASSWORD not in caplog.text


async def test_a_redis_with_too_many_clients_is_named(
    client: RedisClient, own_redis: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    """In the words of Redis."""
    with own_redis.client as redis:
        redis.config_set("maxclients", 1)
        redis.client_kill_filter(skipme=True, _type="normal")
        await eventually(lambda: any("max number of clients reached" in reason for reason in reasons(caplog)))


async def test_a_hung_redis_is_named(
    client: RedisClient, own_redis: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    """It takes connections and answers none."""
    assert own_redis.process is not None
    own_redis.process.send_signal(signal.SIGSTOP)
    try:
        await eventually(lambda: any("no answer in time" in reason for reason in reasons(caplog)))
    finally:
        own_redis.process.send_signal(signal.SIGCONT)


def test_an_outage_is_over_when_all_connections_stand(caplog: pytest.LogCaptureFixture) -> None:
    """One that stands while another does not ends none; one whose reasons never end does not fill the log."""
    outages = OutageLog()
    for connection in ("first", "second", "first"):
        outages.on_failure(connection, StoreUnavailable("gone"))
    outages.on_success("first")
    outages.on_failure("first", StoreUnavailable("gone"))
    assert len(caplog.records) == 1
    outages.on_success("second")
    outages.on_success("first")
    for number in range(100):
        outages.on_failure("first", StoreUnavailable(str(number)))
    assert len(caplog.records) == 21
    assert {record.levelno for record in caplog.records} == {logging.WARNING}
