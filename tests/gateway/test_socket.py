"""The life of a socket as a whole."""

import asyncio
import gc

import pytest

from obscura.gateway.socket import GatewaySocket
from obscura.store import keyspace
from tests.gateway.sockets import raw
from tests.support.client import Api
from tests.support.inspection import metric, uuid_of
from tests.support.redis import RedisServer
from tests.support.waiting import eventually

pytestmark = pytest.mark.libraries


@pytest.mark.parametrize("end", ["end_sending", "close", "reset"])
async def test_a_socket_that_vanishes_leaves_nothing_behind(api: Api, end: str) -> None:
    """Without a goodbye, by FIN or RST: its place is free again, and no task and no memory of it is left."""

    def left() -> tuple[float, int, int]:
        gc.collect()
        sessions = sum(isinstance(thing, GatewaySocket) for thing in gc.get_objects())
        return metric("obscura_gateway_sockets"), len(asyncio.all_tasks()), sessions

    alice, bob = await api.register(), await api.register()
    before = left()
    sockets = [await raw(bob) for _ in range(5)]
    await alice.deliver(bob, b"hello")
    for socket in sockets:
        await socket.envelopes(1)
        getattr(socket, end)()
    await eventually(lambda: left() <= before)


async def test_a_socket_that_cannot_be_served_is_closed(api: Api, redis_server: RedisServer) -> None:
    """1011, so that its client comes again, rather than a socket that stays open and is deaf."""
    user = await api.register()
    with redis_server.client as client:
        client.set(keyspace.inbox(uuid_of(user)), "not what it should be")
    socket = await raw(user)
    assert (await socket.frame()).close_code == 1011
