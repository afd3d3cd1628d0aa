"""Two nodes over a Cluster: all that a relay does, over both of them."""

import asyncio
from collections.abc import Iterator

import aiohttp
import pytest

from obscura.client.device_keys import Device, one_time_keys
from obscura.node.node import Node
from tests.conftest import StartNode
from tests.support.client import Api
from tests.support.groups import owner_of, repair, started
from tests.support.inspection import metric
from tests.support.outages import is_refusal, retry_on_503
from tests.support.redis7 import ClusterRedis, RedisProcess
from tests.support.waiting import eventually

pytestmark = pytest.mark.groups


@pytest.fixture(scope="module")
def redis_cluster() -> Iterator[ClusterRedis]:
    with started(ClusterRedis()) as cluster:
        yield cluster


@pytest.fixture
async def nodes(redis_cluster: ClusterRedis, start_node: StartNode) -> tuple[Node, Node]:
    return await start_node(redis_url=redis_cluster.url), await start_node(redis_url=redis_cluster.url)


@pytest.fixture
async def apis(nodes: tuple[Node, Node], session: aiohttp.ClientSession) -> tuple[Api, Api]:
    first, second = nodes
    return Api(session, first.api_port), Api(session, second.api_port)


async def test_a_conversation_over_both_nodes(apis: tuple[Api, Api]) -> None:
    """Register, bundle, send, receive, ack, refresh, another login, logout: on whichever node."""
    here, there = apis
    for _ in range(6):  # accounts of several masters
        alice, bob = await here.register(), await there.register()
        assert (await alice.bundle_of(bob)).status == 200
        socket = await bob.connect()
        await alice.deliver(bob, b"one", b"two")
        envelopes = await socket.envelopes(2)
        assert [envelope.message.content for envelope in envelopes] == [b"one", b"two"]
        await socket.ack(*envelopes)
        await socket.close()
        assert (await here.refresh(bob.refresh_token)).status == 200
        second = await bob.at(here).another_session()
        elsewhere = await second.at(there).connect()
        assert (await second.logout()).status in (200, 204)
        assert await elsewhere.close_code() == 4003


async def test_a_takeover_closes_the_sockets_of_the_other_node(apis: tuple[Api, Api]) -> None:
    """The old device is told, wherever it is connected."""
    here, there = apis
    bob = await here.register()
    old = await bob.at(there).connect()
    new = await bob.another_session()
    answer = await new.upload(Device().takeover(2, one_time_keys(1, 5)))
    assert answer.status == 200, answer
    assert await old.close_code() in (4001, 4003)
    assert (await here.refresh(bob.refresh_token)).status == 401


async def test_attachments_are_shared(apis: tuple[Api, Api]) -> None:
    """Stored through one node, read through the other."""
    here, there = apis
    user = await here.register()
    stored = await here.call("POST", "/v1/attachments", token=user.token, data=b"12345")
    assert stored.status == 201, stored
    read = await there.call("GET", f"/v1/attachments/{stored.json['id']}", token=user.token)
    assert (read.status, read.body) == (200, b"12345")


async def test_sends_survive_a_flush_of_the_scripts(apis: tuple[Api, Api], redis_cluster: ClusterRedis) -> None:
    """On all masters, again and again: each message is stored, once, and in the order of its sender."""
    here, there = apis
    alice = await here.register()
    recipients = [await there.register() for _ in range(6)]
    assert len({owner_of(redis_cluster, f"obscura:{{{user.id}}}:account").port for user in recipients}) > 1
    contents = [b"%d" % number for number in range(200)]
    sockets = [await user.connect() for user in recipients]
    masters, loaded, flushes = redis_cluster.masters, metric("obscura_redis_scripts_loaded_total"), 0
    sending = asyncio.gather(*(alice.deliver(user, *contents) for user in recipients))
    while not sending.done():
        await asyncio.gather(*(asyncio.to_thread(flush_scripts, master) for master in masters))
        flushes += 1
    await sending
    assert flushes > 1
    assert metric("obscura_redis_scripts_loaded_total") > loaded
    for user, socket in zip(recipients, sockets, strict=True):
        await alice.deliver(user, b"last")
        envelopes = await socket.envelopes(len(contents) + 1)
        assert [envelope.message.content for envelope in envelopes] == [*contents, b"last"]


def flush_scripts(server: RedisProcess) -> None:
    with server.client() as client:
        client.script_flush("SYNC")


async def test_a_master_that_dies_is_replaced_under_the_nodes(
    nodes: tuple[Node, Node], apis: tuple[Api, Api], redis_cluster: ClusterRedis
) -> None:
    """Not ready meanwhile, 503 in time, sockets stay open, and all goes on at the replica that was promoted."""
    here, there = apis
    alice, bob = await here.register(), await there.register()
    socket = await bob.connect()
    victim = owner_of(redis_cluster, f"obscura:{{{bob.id}}}:account")
    management = Api(here.session, nodes[0].management_port)
    victim.kill()
    try:
        answer = await alice.send(bob, b"nobody there")
        assert is_refusal(answer)

        async def readiness(status: int) -> bool:
            return (await management.call("GET", "/readyz")).status == status

        await eventually(lambda: readiness(503))
        assert (await retry_on_503(lambda: alice.send(bob, b"hello"))).status == 201
        while (await socket.envelope()).message.content != b"hello":
            pass
        assert (await retry_on_503(lambda: alice.bundle_of(bob))).status == 200
        await eventually(lambda: readiness(200), 20)
        await socket.close()
    finally:
        await victim.start()
        await repair(redis_cluster)
