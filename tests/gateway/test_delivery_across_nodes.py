"""Two nodes on one Redis behave as one: what is sent at either reaches the sockets of both, once and in order."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import aiohttp
import pytest

from obscura.client.device_keys import Device, one_time_keys
from obscura.model.message_ids import MessageIds
from tests.conftest import JWT_SECRET
from tests.support.client import Api, Socket, User, ack_frame
from tests.support.inspection import inbox_of, uuid_of
from tests.support.node_process import serve
from tests.support.raw_socket import CLOSE, RawSocket
from tests.support.redis import RedisServer

SENDERS, MESSAGES_EACH = 16, 60


async def flood(senders: Sequence[User], recipient: User, count: int) -> None:
    """Have all send at once, each its messages one after the other."""
    await asyncio.gather(
        *(
            sender.deliver(recipient, *[b"%d %d" % (index, number) for number in range(count)])
            for index, sender in enumerate(senders)
        )
    )


def stored_ids(redis: RedisServer, user: User) -> list[str]:
    """The envelope ids of a user's inbox, in the order stored."""
    ids = MessageIds(uuid_of(user))
    return [ids.encode(entry).decode() for entry in inbox_of(redis, user)]


async def received_ids(socket: Socket, count: int) -> list[str]:
    return [envelope.id for envelope in await socket.envelopes(count)]


async def has_nothing_more(socket: Socket, sender: User, recipient: User) -> bool:
    await sender.deliver(recipient, b"the end")
    return await socket.is_silent_until(b"the end") == []


async def senders_at(apis: Sequence[Api]) -> list[User]:
    """Sixteen logins of one account, half of them at each node."""
    user = await apis[0].register()
    return [user.at(apis[index % 2]) for index in range(SENDERS)]


async def test_a_message_sent_on_one_node_reaches_a_socket_on_the_other(two_apis: tuple[Api, Api]) -> None:
    """Live delivery crosses nodes, and an ack ends it."""
    first, second = two_apis
    alice, bob = await first.register(), await second.register()
    socket = await bob.connect()
    await alice.deliver(bob, b"hello")
    envelope = await socket.envelope()
    assert envelope.message.content == b"hello"
    assert envelope.source_user_id == alice.id
    await socket.ack(envelope)
    await socket.close()
    assert await has_nothing_more(await bob.connect(), alice, bob)


async def test_sockets_on_both_nodes_each_get_every_message(two_apis: tuple[Api, Api]) -> None:
    """Two on each, pending and live."""
    first, second = two_apis
    alice, bob = await first.register(), await second.register()
    await alice.deliver(bob, b"pending")
    sockets = [await bob.at(api).connect() for api in (first, second, first, second)]
    await alice.deliver(bob, b"live")
    await alice.at(second).deliver(bob, b"live too")
    for socket in sockets:
        contents = [envelope.message.content for envelope in await socket.envelopes(3)]
        assert contents == [b"pending", b"live", b"live too"]


async def test_what_was_acked_on_one_node_is_not_delivered_by_the_other(two_apis: tuple[Api, Api]) -> None:
    """A client that closes its socket here and opens one there gets nothing twice."""
    first, second = two_apis
    alice, bob = await first.register(), await second.register()
    for api in (second, first, second, first):
        socket = await bob.at(api).connect()
        await alice.deliver(bob, b"once")
        await socket.ack(await socket.envelope())
        await socket.close()
    assert await has_nothing_more(await bob.connect(), alice, bob)


async def test_sixteen_senders_at_once_are_delivered_in_the_order_stored(
    two_apis: tuple[Api, Api], redis_server: RedisServer
) -> None:
    """To live sockets on both nodes: none skipped, none doubled, order as in the stream."""
    senders, bob = await senders_at(two_apis), await two_apis[1].register()
    sockets = [await bob.at(api).connect() for api in two_apis]
    *received, _ = await asyncio.gather(
        *(received_ids(socket, SENDERS * MESSAGES_EACH) for socket in sockets), flood(senders, bob, MESSAGES_EACH)
    )
    stored = stored_ids(redis_server, bob)
    assert len(stored) == SENDERS * MESSAGES_EACH
    assert received == [stored, stored]
    await senders[0].deliver(bob, b"the end")
    for socket in sockets:
        assert await socket.is_silent_until(b"the end") == []


async def test_a_socket_that_connects_in_the_middle_of_a_flood_misses_nothing(
    two_apis: tuple[Api, Api], redis_server: RedisServer
) -> None:
    """Where the backlog ends and live delivery begins no message is lost, doubled or out of order."""
    senders, bob = await senders_at(two_apis), await two_apis[1].register()
    flooding = asyncio.create_task(flood(senders, bob, MESSAGES_EACH))
    received = []
    for turn in range(20):
        socket = await bob.at(two_apis[turn % 2]).connect()
        received.append(asyncio.create_task(received_ids(socket, SENDERS * MESSAGES_EACH)))
    await flooding
    stored = stored_ids(redis_server, bob)
    for ids in await asyncio.gather(*received):
        assert ids == stored


async def test_acks_in_the_middle_of_a_flood_remove_what_they_name_alone(
    two_apis: tuple[Api, Api], redis_server: RedisServer
) -> None:
    """A client that acks all that it receives, over many short connections, ends with every message exactly once."""
    senders, bob = await senders_at(two_apis), await two_apis[1].register()
    flooding = asyncio.create_task(flood(senders, bob, MESSAGES_EACH))
    received: list[bytes] = []
    for turn in range(SENDERS * MESSAGES_EACH // 40):
        socket = await bob.at(two_apis[turn % 2]).connect()
        for _ in range(40):
            envelope = await socket.envelope()
            received.append(envelope.message.content)
            await socket.connection.send_bytes(ack_frame(envelope.id))
        await socket.close()
    await flooding
    assert len(set(received)) == len(received) == SENDERS * MESSAGES_EACH
    assert not inbox_of(redis_server, bob)


async def test_a_node_on_uvloop_delivers_a_flood_in_order(
    two_apis: tuple[Api, Api], redis_server: RedisServer, tmp_path: Path, session: aiohttp.ClientSession
) -> None:
    """A process of its own, with senders at it and at another node."""
    async with serve(tmp_path, redis_server.url, JWT_SECRET) as served:
        apis = Api(session, served.api_port), two_apis[0]
        senders, bob = await senders_at(apis), await apis[0].register()
        socket = await bob.connect()
        received, _ = await asyncio.gather(
            received_ids(socket, SENDERS * MESSAGES_EACH), flood(senders, bob, MESSAGES_EACH)
        )
        assert received == stored_ids(redis_server, bob)
        again = await bob.connect()
        assert await received_ids(again, SENDERS * MESSAGES_EACH) == received


async def test_the_status_is_pushed_for_a_fetch_at_the_other_node(two_apis: tuple[Api, Api]) -> None:
    """The moment a bundle fetch takes the count below the threshold, wherever it was made."""
    first, second = two_apis
    alice, bob = await first.register(), await second.register(pre_keys=20)
    socket = await bob.connect()
    await alice.bundle_of(bob)
    status = await socket.status()
    assert (status.one_time_pre_key_count, status.min_threshold) == (19, 20)


@pytest.mark.parametrize("session_of_caller", [True, False], ids=["the caller's own", "another session's"])
async def test_a_takeover_closes_sockets_on_the_other_node(two_apis: tuple[Api, Api], session_of_caller: bool) -> None:
    """4001 to every socket of the account; only the session that took over may connect again, anywhere."""
    first, second = two_apis
    bob = await first.register()
    owner = (bob if session_of_caller else await bob.another_session()).at(second)
    socket = await RawSocket.open(second.port, owner.token)
    answer = await bob.upload(Device().takeover(9, one_time_keys(1, 30)))
    assert answer.status in (200, 204), answer
    goodbye = (await socket.frames_until(CLOSE))[-1]
    assert (goodbye.close_code, goodbye.close_reason) == (4001, "device replaced")
    assert isinstance(await owner.try_connect(), Socket) == session_of_caller


async def test_a_logout_closes_sockets_on_the_other_node(two_apis: tuple[Api, Api]) -> None:
    """4003 to the sockets of the session, and to them alone."""
    first, second = two_apis
    alice, bob = await first.register(), await second.register()
    other = await bob.another_session()
    ended, kept = await RawSocket.open(second.port, bob.token), await other.connect()
    await bob.at(first).logout()
    goodbye = await ended.frame()
    assert (goodbye.close_code, goodbye.close_reason) == (4003, "session revoked")
    assert await bob.try_connect() == 401
    assert await has_nothing_more(kept, alice, other)
