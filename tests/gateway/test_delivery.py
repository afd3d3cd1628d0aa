"""What a socket is sent, on one node."""

import time

import pytest

from obscura.settings.model import SETTINGS
from obscura.store import keyspace
from obscura.v1.obscura_pb2 import EncryptedMessage
from tests.conftest import StartNode
from tests.gateway.sockets import Connect, open_after, raw
from tests.support.client import Api, encrypted
from tests.support.redis import RedisServer
from tests.support.waiting import eventually

DEFAULT_MAX_BYTES = int(SETTINGS["max_message_bytes"].default)


async def test_on_connect_a_low_status_comes_first(api: Api) -> None:
    """PreKeyStatus, then every pending envelope oldest first, then live ones."""
    alice, bob = await api.register(), await api.register(pre_keys=3)
    await alice.deliver(bob, b"1", b"2", b"3")
    socket = await bob.connect()
    status = await socket.status()
    assert (status.one_time_pre_key_count, status.min_threshold) == (3, 20)
    assert [envelope.message.content for envelope in await socket.envelopes(3)] == [b"1", b"2", b"3"]
    await alice.deliver(bob, b"4")
    assert (await socket.envelope()).message.content == b"4"


async def test_with_enough_pre_keys_no_status_is_sent(api: Api) -> None:
    """The threshold itself is enough."""
    alice, bob = await api.register(), await api.register(pre_keys=20)
    socket = await bob.connect()
    await open_after(socket, alice, bob)


async def test_the_status_is_pushed_when_a_fetch_takes_the_count_below_the_threshold(api: Api) -> None:
    """The fetch that leaves 19 of 20 is told to a live socket; one that leaves more is not."""
    alice, bob = await api.register(), await api.register(pre_keys=21)
    socket = await bob.connect()
    await alice.bundle_of(bob)
    await open_after(socket, alice, bob)
    await alice.bundle_of(bob)
    assert (await socket.status()).one_time_pre_key_count == 19


async def test_an_envelope_tells_sender_time_and_the_message_untouched(api: Api) -> None:
    """Unknown fields and an unknown type reach the recipient as sent."""
    alice, bob = await api.register(), await api.register()
    body = encrypted(b"content", kind=77) + b"\xa2\x06\x05extra"
    answer = await api.call("POST", f"/v1/messages/{bob.id}", token=alice.token, data=body)
    assert answer.status == 201
    socket = await raw(bob)
    frame = await socket.frame()
    envelope = frame.envelope
    assert envelope.source_user_id == alice.id
    assert abs(envelope.timestamp - time.time() * 1000) < 60_000
    assert frame.payload.endswith(body)
    assert EncryptedMessage.FromString(body).type == 77


async def test_the_time_is_true_after_a_clock_that_ran_ahead(api: Api, redis_server: RedisServer) -> None:
    """An hour ahead once, ids stay ahead of it; each envelope tells the second it was sent, live and from the inbox."""
    alice, bob = await api.register(), await api.register()
    socket = await bob.connect()
    await open_after(socket, alice, bob)
    with redis_server.client as redis:
        redis.hset(keyspace.account(bob.id), "inbox_last", f"{(redis.time()[0] + 3600) * 1000}-0")
    began_ms = time.time() * 1000
    await alice.deliver(bob, b"1", b"2")
    live = await socket.envelopes(2)
    again = await (await bob.connect()).envelopes(3)
    ended_ms = time.time() * 1000
    assert [envelope.message.content for envelope in live] == [b"1", b"2"]
    assert [(envelope.id, envelope.timestamp) for envelope in live] == [
        (envelope.id, envelope.timestamp) for envelope in again[1:]
    ]
    assert all(began_ms - 1000 <= envelope.timestamp <= ended_ms + 1000 for envelope in live)
    await socket.ack(*live)
    with redis_server.client as redis:
        await eventually(lambda: redis.xlen(keyspace.inbox(bob.id)) == 1)


async def test_what_was_not_acked_comes_again_with_the_same_id(api: Api) -> None:
    """Once per connection, and again on the next."""
    alice, bob = await api.register(), await api.register()
    first = await bob.connect()
    await alice.deliver(bob, b"1", b"2")
    ids = [envelope.id for envelope in await first.envelopes(2)]
    await open_after(first, alice, bob)
    await first.close()
    second = await bob.connect()
    assert [envelope.id for envelope in await second.envelopes(2)] == ids


async def test_what_was_acked_never_comes_again(api: Api) -> None:
    """Acked, whether pushed from the inbox or live, in any order: not on the next connection."""
    alice, bob = await api.register(), await api.register()
    await alice.deliver(bob, b"pending 1", b"pending 2")
    first = await bob.connect()
    await alice.deliver(bob, b"live")
    envelopes = await first.envelopes(3)
    await first.ack(envelopes[2], envelopes[0])
    await first.close()
    second = await bob.connect()
    assert (await second.envelope()).message.content == b"pending 2"
    await open_after(second, alice, bob)


async def test_several_sockets_of_a_user_each_get_every_message(api: Api) -> None:
    """Pending and live ones; what one socket acks the other keeps until its next connection."""
    alice, bob = await api.register(), await api.register()
    await alice.deliver(bob, b"pending")
    sockets = [await bob.connect(), await bob.connect()]
    await alice.deliver(bob, b"live")
    for socket in sockets:
        envelopes = await socket.envelopes(2)
        assert [envelope.message.content for envelope in envelopes] == [b"pending", b"live"]
        await socket.ack(*envelopes)
    await alice.deliver(bob, b"the end")
    for socket in sockets:
        assert await socket.is_silent_until(b"the end") == []


async def test_a_client_that_missed_that_keys_are_low_is_told_again(
    start_node: StartNode, connect_api: Connect
) -> None:
    """At half of the threshold and at zero, and then not with every fetch."""
    api = connect_api(await start_node(pre_key_refill_threshold=8))
    alice, bob = await api.register(), await api.register(pre_keys=9)
    socket = await bob.connect()
    for _ in range(12):
        assert (await alice.bundle_of(bob)).status == 200
    assert [(await socket.status()).one_time_pre_key_count for _ in range(3)] == [7, 4, 0]
    await open_after(socket, alice, bob)


@pytest.mark.filterwarnings("ignore:Sending a large body")
@pytest.mark.parametrize("size", [16_384, 16_385, 1_000_000, DEFAULT_MAX_BYTES - len(encrypted(bytes(2**20))) + 2**20])
async def test_a_large_message_is_delivered_live(api: Api, size: int) -> None:
    """Up to the limit, also when it is too large for its event, and in its place in the order."""
    alice, bob = await api.register(), await api.register()
    socket = await bob.connect()
    content = bytes(range(256)) * (size // 256) + bytes(size % 256)
    await alice.deliver(bob, b"before", content, b"after")
    envelopes = await socket.envelopes(3)
    assert [envelope.message.content for envelope in envelopes] == [b"before", content, b"after"]


async def test_a_backlog_of_a_thousand_arrives_in_order(api: Api) -> None:
    """Over many pages: none left out, none doubled, none out of turn."""
    alice, bob = await api.register(), await api.register()
    contents = [b"%d" % number for number in range(1000)]
    await alice.deliver(bob, *contents)
    socket = await bob.connect()
    assert [envelope.message.content for envelope in await socket.envelopes(1000)] == contents
    await open_after(socket, alice, bob)
