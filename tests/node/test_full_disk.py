"""A node whose own Redis has a full disk: sockets stay open, what waits is delivered, and nothing is lost."""

import asyncio
from collections.abc import Callable

from obscura.node.node import Node
from tests.conftest import StartNode
from tests.support.client import Api, Socket, User
from tests.support.disks import filled, small_disk
from tests.support.inspection import metric
from tests.support.outages import is_refusal, retry_on_503
from tests.support.waiting import eventually


async def test_a_full_disk_keeps_sockets_and_messages(
    start_node: StartNode, connect_api: Callable[[Node], Api]
) -> None:
    """Sends are 503 within one restart of Redis, inboxes can be read, and sends go on a second after there is room."""
    with small_disk(16 * 2**20) as disk:
        node = await start_node(redis_url=None, data_dir=disk / "data", storage_dir=disk / "data" / "attachments")
        api = connect_api(node)
        alice, bob = await api.register(), await api.register()
        socket = await bob.connect()
        stored = [b"message %d" % number for number in range(50)]
        await alice.deliver(bob, *stored)
        assert [envelope.message.content for envelope in await socket.envelopes(50)] == stored
        before = metric("obscura_embedded_redis_restarts_total")
        with filled(disk):

            async def refused_after_a_restart() -> bool:
                answer = await alice.send(bob, b"x" * 20_000)
                return is_refusal(answer) and metric("obscura_embedded_redis_restarts_total") > before

            await eventually(refused_after_a_restart)
            again = await retry_until_connected(bob)
            assert [envelope.message.content for envelope in await again.envelopes(50)] == stored
            for _ in range(20):
                assert is_refusal(await alice.send(bob, b"no room"))
            assert metric("obscura_embedded_redis_restarts_total") == before + 1
        clock = asyncio.get_running_loop().time
        emptied_at = clock()
        assert (await retry_on_503(lambda: alice.send(bob, b"fits"))).status == 201
        assert clock() - emptied_at < 2
        assert (await socket.envelope()).message.content == b"fits"
        await node.stop()


async def retry_until_connected(user: User) -> Socket:
    async def connected() -> Socket | None:
        socket = await user.try_connect()
        return None if isinstance(socket, int) else socket

    socket = await eventually(connected)
    assert socket is not None
    return socket
