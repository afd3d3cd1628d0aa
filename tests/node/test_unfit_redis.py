"""A Redis that changes under a node that runs: what would refuse a start takes the node out, and why is told."""

import logging
from collections.abc import Callable

import aiohttp
import pytest

from obscura.node.node import Node
from obscura.redis_client import health_monitor, outage_log
from tests.conftest import StartNode
from tests.support.client import Api
from tests.support.inspection import metric
from tests.support.outages import is_refusal, retry_on_503
from tests.support.redis import RedisServer
from tests.support.waiting import eventually

EVICTING = ("--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru")


def unmet(requirement: str) -> float:
    return metric("obscura_redis_requirement_unmet", requirement=requirement)


@pytest.fixture
async def node(start_node: StartNode, own_redis: RedisServer) -> Node:
    return await start_node(redis_url=own_redis.url)


@pytest.fixture
def api(node: Node, session: aiohttp.ClientSession) -> Api:
    return Api(session, node.api_port)


@pytest.fixture
def ready(node: Node, session: aiohttp.ClientSession) -> Callable[[], object]:
    management = Api(session, node.management_port)

    async def ready() -> tuple[int, dict[str, str]]:
        answer = await management.call("GET", "/readyz")
        return answer.status, answer.json

    return ready


async def test_a_redis_restarted_with_eviction_is_not_used(
    api: Api, ready: Callable, own_redis: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    """Not ready with the reason, sends are 503 and nothing is written; once it is as it must be all goes on."""
    alice, bob = await api.register(), await api.register()
    caplog.clear()
    own_redis.stop()
    own_redis.start(*EVICTING)

    async def is_told() -> bool:
        status, parts = await ready()
        return status == 503 and parts["database"] == "error" and "maxmemory-policy allkeys-lru" in str(parts)

    await eventually(is_told)
    assert is_refusal(await alice.send(bob, b"would be lost"))
    await eventually(lambda: unmet("eviction") == 1)
    with own_redis.client as redis:
        assert redis.xlen(f"obscura:{{{bob.id}}}:inbox") == 0
        told = [record for record in caplog.records if record.name == outage_log.__name__]
        assert [record.levelno for record in told] == [logging.ERROR]
        redis.config_set("maxmemory-policy", "noeviction")
    assert (await retry_on_503(lambda: alice.send(bob, b"is kept"))).status == 201
    assert unmet("eviction") == 0
    await eventually(lambda: is_ok(ready))


async def is_ok(ready: Callable) -> bool:
    status, parts = await ready()
    return bool(status == 200 and parts["status"] == "ok")


async def test_a_redis_configured_anew_is_found_out_without_a_reconnect(
    monkeypatch: pytest.MonkeyPatch, start_node: StartNode, own_redis: RedisServer, session: aiohttp.ClientSession
) -> None:
    """By the look that every node takes now and then."""
    monkeypatch.setattr(health_monitor, "PERIOD_SECS", 0.05)
    api = Api(session, (await start_node(redis_url=own_redis.url)).api_port)
    alice = await api.register()
    with own_redis.client as redis:
        redis.config_set("maxmemory-policy", "volatile-ttl")
        redis.config_set("maxmemory", "100mb")
        await eventually(lambda: unmet("eviction") == 1 and metric("obscura_redis_connected") == 0)
        assert is_refusal(await alice.send(alice, b"would be lost"))
        redis.config_set("maxmemory", 0)
    assert (await retry_on_503(lambda: alice.send(alice, b"is kept"))).status == 201
    await eventually(lambda: unmet("eviction_policy") == 1)


async def test_a_redis_restarted_without_its_file_is_warned_of(
    api: Api, ready: Callable, own_redis: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    """As at a start of the node: it is used, and what may be lost is told."""
    caplog.clear()
    with own_redis.client as redis:
        redis.save()  # without a file it comes up with its snapshot
    own_redis.stop()
    own_redis.start("--appendonly", "no")
    await eventually(lambda: unmet("append_only_file") == 1)
    await eventually(lambda: is_ok(ready))
    assert len([record for record in caplog.records if "keeps no append-only file" in record.message]) == 1


async def test_a_full_memory_shows_in_readiness(api: Api, ready: Callable, own_redis: RedisServer) -> None:
    """Sends are refused, while what waits is still delivered and acked: clients are not sent away."""
    with own_redis.client as redis:
        redis.config_set("maxmemory", 1)
        status, parts = await ready()
        assert (status, parts["status"], parts["database"]) == (200, "degraded", "error")
        assert parts["reason"] == "Redis refuses messages: its memory is full"
        redis.config_set("maxmemory", 0)
    assert await is_ok(ready)


@pytest.mark.parametrize("right", ["+xadd", "+publish", "+evalsha"])
async def test_a_right_that_sends_lack_shows_in_readiness(
    api: Api, ready: Callable, own_redis: RedisServer, right: str
) -> None:
    """Another node may have it: this one is not ready."""
    assert await is_ok(ready)
    with own_redis.client as redis:
        redis.execute_command("ACL", "SETUSER", "default", right.replace("+", "-"))
        status, parts = await ready()
        assert (status, parts["status"], parts["database"]) == (503, "error", "error")
        assert parts["reason"] == "Redis refuses messages: NOPERM"
        redis.execute_command("ACL", "SETUSER", "default", right)
    assert await is_ok(ready)
