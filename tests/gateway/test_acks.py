"""What acks do, on one node."""

import pytest
from redis import Redis

from obscura.model.message_ids import EntryId, MessageIds
from obscura.store import keyspace
from obscura.v1.obscura_pb2 import Envelope
from tests.conftest import StartNode
from tests.gateway.sockets import Connect, open_after, raw
from tests.support.client import Api, ack_frame, encrypted
from tests.support.inbox import contents_of, size_of
from tests.support.inspection import inbox_of, uuid_of
from tests.support.proxy import Proxy
from tests.support.raw_socket import BINARY, CLOSE, PING, PONG
from tests.support.redis import RedisServer
from tests.support.waiting import eventually


async def test_an_ack_of_somebody_elses_message_has_no_effect(api: Api) -> None:
    """Whoever knows an id but is not the recipient cannot remove the message."""
    alice, bob, mallory = await api.register(), await api.register(), await api.register()
    await alice.deliver(bob, b"for bob")
    envelope = await (await bob.connect()).envelope()
    attacker = await mallory.connect()
    await attacker.ack(envelope)
    await attacker.close()
    assert (await (await bob.connect()).envelope()).id == envelope.id


async def test_an_ack_of_nothing_is_fine(api: Api, redis_server: RedisServer) -> None:
    """Unknown, removed and twice acked ids harm neither the socket nor other messages."""
    alice, bob = await api.register(), await api.register()
    await alice.deliver(bob, b"twice", b"removed", b"kept")
    socket = await bob.connect()
    twice, removed, kept = await socket.envelopes(3)
    with redis_server.client as client:
        client.xdel(keyspace.inbox(uuid_of(bob)), str(inbox_of(redis_server, bob)[1]))
    unknown = MessageIds(uuid_of(bob)).encode(EntryId(1, 1)).decode()
    await socket.ack(twice, twice, removed, Envelope(id=unknown))
    await socket.ack(twice)
    await open_after(socket, alice, bob)
    await socket.close()
    assert (await (await bob.connect()).envelope()).id == kept.id


async def test_every_kind_of_ack_takes_its_bytes_off(api: Api, redis_server: RedisServer) -> None:
    """Of what was read from the inbox, pushed live, named in capitals, or had on an earlier socket."""
    alice, bob = await api.register(), await api.register()
    await alice.deliver(bob, b"read", b"in capitals, this one", b"of an earlier socket")
    earlier = await bob.connect()
    of_earlier_socket = (await earlier.envelopes(3))[2]
    await earlier.close()
    socket = await raw(bob)
    await socket.send(BINARY, ack_frame(of_earlier_socket.id))
    read, in_capitals = await socket.envelopes(2)
    await alice.deliver(bob, b"pushed live, and larger than the others", b"kept")
    while (live := (await socket.envelopes(1))[0]).message.content != b"pushed live, and larger than the others":
        pass  # the third may have been on its way already
    for message_id in (read.id, in_capitals.id.upper(), live.id):
        await socket.send(BINARY, ack_frame(message_id))
    with Redis(unix_socket_path=str(redis_server.path)) as redis:
        await eventually(lambda: contents_of(redis, bob) == [b"kept"])
        assert size_of(redis, bob) == len(encrypted(b"kept"))


@pytest.mark.parametrize("is_first_named_apart", [True, False])
async def test_envelopes_acked_by_list_come_once(api: Api, is_first_named_apart: bool) -> None:
    """Sixty envelopes are sixty deliveries, however often the client connects after it acked them ten at a time."""
    alice, bob = await api.register(), await api.register()
    await alice.deliver(bob, *[b"%d" % number for number in range(60)])
    socket = await raw(bob)
    ids = [envelope.id for envelope in await socket.envelopes(60)]
    for first in range(0, 60, 10):
        batch = ids[first : first + 10]
        await socket.send(BINARY, ack_frame(*batch) if is_first_named_apart else ack_frame("", *batch))
    deliveries = 60
    for _ in range(5):
        await socket.send(CLOSE)
        await socket.frames_until(CLOSE)
        socket = await raw(bob)
        await socket.send(PING)
        deliveries += len(await socket.frames_until(PONG)) - 1
    await socket.send(CLOSE)
    await open_after(await bob.connect(), alice, bob)
    assert deliveries == 60


async def test_acks_are_written_by_count(
    start_node: StartNode, connect_api: Connect, redis_server: RedisServer
) -> None:
    """As many as a batch holds are written at once, long before the interval is over."""
    api = connect_api(await start_node(ws_ack_batch_size=3, ws_ack_flush_interval_ms=3_600_000))
    alice, bob = await api.register(), await api.register()
    await alice.deliver(bob, b"1", b"2", b"3")
    socket = await bob.connect()
    await socket.ack(*await socket.envelopes(3))
    await eventually(lambda: not inbox_of(redis_server, bob))


async def test_acks_are_written_by_interval(
    start_node: StartNode, connect_api: Connect, redis_server: RedisServer
) -> None:
    """A single ack is written when the interval is over."""
    api = connect_api(await start_node(ws_ack_batch_size=1000, ws_ack_flush_interval_ms=20))
    alice, bob = await api.register(), await api.register()
    await alice.deliver(bob, b"1")
    socket = await bob.connect()
    await socket.ack(await socket.envelope())
    await eventually(lambda: not inbox_of(redis_server, bob))


@pytest.fixture
async def lazy_api(start_node: StartNode, connect_api: Connect) -> Api:
    """A node that writes acks neither by count nor by interval."""
    return connect_api(await start_node(ws_ack_batch_size=10_000, ws_ack_flush_interval_ms=3_600_000))


async def test_acks_are_written_before_a_close_is_answered(
    start_node: StartNode, connect_api: Connect, redis_server: RedisServer
) -> None:
    """Who has the answer to its close may connect anywhere at once, and gets nothing that it acked."""
    async with Proxy(redis_server.path) as proxy:
        api = connect_api(await start_node(redis_url=proxy.redis_url))
        alice, bob = await api.register(), await api.register()
        await alice.deliver(bob, b"1", b"2")
        socket = await bob.connect()
        envelopes = await socket.envelopes(2)
        proxy.delay_secs = 0.1
        await socket.ack(*envelopes)
        await socket.close()
        assert not inbox_of(redis_server, bob)
        proxy.delay_secs = 0


async def test_acks_of_one_socket_hold_for_the_next(lazy_api: Api) -> None:
    """A second socket of the user is not given what the first, still open, has acked."""
    alice, bob = await lazy_api.register(), await lazy_api.register()
    await alice.deliver(bob, b"acked", b"not acked")
    first = await raw(bob)
    acked, _ = await first.envelopes(2)
    await first.send(BINARY, ack_frame(acked.id))
    await first.send(PING)
    await first.frames_until(PONG)
    second = await bob.connect()
    assert (await second.envelope()).message.content == b"not acked"
