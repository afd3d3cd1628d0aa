"""Two nodes over Sentinel, with a replica waited for."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

import aiohttp
import pytest

from obscura.client.device_keys import Device
from obscura.node.node import Node
from tests.conftest import StartNode
from tests.support.client import Answer, Api
from tests.support.groups import started
from tests.support.outages import is_refusal, retry_on_503
from tests.support.redis7 import SentinelRedis
from tests.support.waiting import eventually

pytestmark = [pytest.mark.groups, pytest.mark.timeout(150)]

IN_TIME_SECS = 4.0  # twice what it may take, on a busy machine


@pytest.fixture(scope="module")
def group() -> Iterator[SentinelRedis]:
    with started(SentinelRedis()) as group:
        yield group


@pytest.fixture
async def nodes(group: SentinelRedis, start_node: StartNode) -> tuple[Node, Node]:
    settings = {"redis_url": group.url, "redis_wait_replicas": 1}
    return await start_node(**settings), await start_node(**settings)


@pytest.fixture
async def apis(nodes: tuple[Node, Node], session: aiohttp.ClientSession) -> tuple[Api, Api]:
    first, second = nodes
    return Api(session, first.api_port), Api(session, second.api_port)


@contextmanager
def without_replicas(group: SentinelRedis) -> Iterator[None]:
    """They hang, for less than it takes to be missed by anybody but the master."""
    master = group.master
    replicas = [server for server in group.servers if server is not master]
    for replica in replicas:
        replica.pause()
    try:
        yield
    finally:
        for replica in replicas:
            replica.resume()


async def test_what_may_not_be_lost_is_refused_without_replicas(apis: tuple[Api, Api], group: SentinelRedis) -> None:
    """Sends, registrations, refreshes and key fetches: 503 in time; a key popped for nobody is never handed out."""
    here, there = apis
    alice, bob = await here.register(pre_keys=5), await there.register(pre_keys=5)
    with without_replicas(group):
        registration = here.registration("somebody-new", Device(), 3)
        async with asyncio.timeout(IN_TIME_SECS):
            refused: list[Answer] = await asyncio.gather(
                alice.send(bob, b"hello"),
                here.call("POST", "/v1/users", json=registration),
                there.refresh(bob.refresh_token),
                alice.bundle_of(bob),
            )
        assert [is_refusal(answer) for answer in refused] == [True] * 4
        assert (await here.call("GET", "/openapi.yaml")).status == 200
    key_ids = []
    for _ in range(5):
        bundle = await retry_on_503(lambda: alice.bundle_of(bob))
        assert bundle.status == 200
        if bundle.json["oneTimePreKey"]:
            key_ids.append(bundle.json["oneTimePreKey"]["keyId"])
    assert 1 not in key_ids  # the oldest, which was popped
    assert len(key_ids) == len(set(key_ids)) <= 4


async def test_a_failover_loses_nothing_that_was_answered(
    nodes: tuple[Node, Node], apis: tuple[Api, Api], group: SentinelRedis
) -> None:
    """Accounts, messages, sessions and keys are there at the promoted replica; sockets stay open; no restart."""
    here, there = apis
    alice, bob = await here.register(), await there.register()
    socket = await bob.connect()
    await alice.deliver(bob, b"before")
    assert (await socket.envelope()).message.content == b"before"
    refreshed = await there.refresh(bob.refresh_token)
    first_key = (await alice.bundle_of(bob)).json["oneTimePreKey"]["keyId"]
    management = Api(here.session, nodes[0].management_port)

    async def readiness(status: int) -> bool:
        return (await management.call("GET", "/readyz")).status == status

    victim = group.master
    victim.kill()
    try:
        await eventually(lambda: readiness(503))
        assert is_refusal(await alice.send(bob, b"nobody there"))
        await eventually(lambda: readiness(200), 60)
        assert (await retry_on_503(lambda: alice.send(bob, b"after"))).status == 201
        while (await socket.envelope()).message.content != b"after":
            pass  # "before" again: it was not acked
        # The other node may find its way a moment later, and a refresh is answered once.
        assert (await retry_on_503(lambda: alice.at(there).send(bob, b"there too"))).status == 201
        assert (await there.refresh(refreshed.json["refreshToken"])).status == 200
        assert (await retry_on_503(lambda: alice.bundle_of(bob))).json["oneTimePreKey"]["keyId"] != first_key
        await socket.close()
    finally:
        await victim.start()
