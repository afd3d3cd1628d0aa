"""Frames of a client: those that mean nothing, those that break the protocol, and floods of them."""

import asyncio
from uuid import uuid4

import pytest

from obscura.model.message_ids import EntryId, MessageIds
from obscura.v1.obscura_pb2 import Envelope, PreKeyStatus, WebSocketFrame
from tests.conftest import StartNode
from tests.gateway.sockets import Connect, open_after, raw
from tests.support.client import Api, ack_frame
from tests.support.inspection import inbox_of, metric, uuid_of
from tests.support.raw_socket import BINARY, PING, PONG, TEXT, Frame, frame_bytes
from tests.support.redis import RedisServer
from tests.support.waiting import eventually


@pytest.mark.parametrize(
    ("opcode", "payload", "reason"),
    [
        (BINARY, b"", "no ack"),
        (BINARY, b"\xff" * 40, "no ack"),
        (BINARY, b"\x00" * 65_536, "no ack"),
        (BINARY, WebSocketFrame(pre_key_status=PreKeyStatus(min_threshold=1)).SerializeToString(), "no ack"),
        (BINARY, WebSocketFrame(envelope=Envelope(id=str(uuid4()))).SerializeToString(), "no ack"),
        (BINARY, ack_frame(""), "foreign id"),
        (BINARY, ack_frame("not a UUID"), "foreign id"),
        (BINARY, ack_frame("1\u0665345678-1234-7234-9234-123456789012"), "foreign id"),
        (BINARY, ack_frame(str(uuid4())), "foreign id"),
        (TEXT, b"hello", "text"),
        (TEXT, b"\xff\xfe", "text"),
    ],
    ids=[
        *("empty", "malformed", "of 64 KiB exactly", "a status", "an envelope", "no id", "a bad UUID"),
        *("other digits", "a foreign UUID", "text", "text that is not UTF-8"),
    ],
)
async def test_a_frame_that_means_nothing_is_ignored(api: Api, opcode: int, payload: bytes, reason: str) -> None:
    """It is counted, and the socket stays open."""
    user = await api.register()
    before = metric("obscura_gateway_frames_ignored_total", reason=reason)
    socket = await raw(user)
    await socket.send(opcode, payload)
    await socket.send(PING, b"open?")
    assert await socket.frame() == Frame(PONG, b"open?")
    assert metric("obscura_gateway_frames_ignored_total", reason=reason) == before + 1


@pytest.mark.parametrize("size", [65_537, 8_000_000])
async def test_a_frame_over_the_limit_closes_the_socket(api: Api, size: int) -> None:
    """1009, which the client can read though it was still sending; what it acked before counts."""
    alice, bob = await api.register(), await api.register()
    await alice.deliver(bob, b"acked")
    socket = await raw(bob)
    (acked,) = await socket.envelopes(1)
    await socket.send(BINARY, ack_frame(acked.id))
    await socket.send(BINARY, bytes(size))
    assert (await socket.frame()).close_code == 1009
    socket.close()
    await open_after(await bob.connect(), alice, bob)


async def test_fragments_over_the_limit_close_the_socket(api: Api) -> None:
    """The limit holds for a message, however it is cut."""
    socket = await raw(await api.register())
    await socket.send(BINARY, bytes(40_000), final=False)
    await socket.send(0, bytes(40_000))
    assert (await socket.frame()).close_code == 1009


@pytest.mark.parametrize(
    "data",
    [
        b"\xc2\x80\0\0\0\0",
        b"\x83\x80\0\0\0\0",
        b"\x80\x80\0\0\0\0",
        b"\x09\x80\0\0\0\0",
        b"\x89\xfe\0\x80" + bytes(132),
    ],
    ids=["reserved bit", "unknown opcode", "continues nothing", "ping in pieces", "ping too long"],
)
async def test_what_breaks_the_websocket_protocol_closes_the_socket(api: Api, data: bytes) -> None:
    """1002, one close frame, and the end of the connection."""
    socket = await raw(await api.register())
    await socket.send_bytes(data)
    assert (await socket.frame()).close_code == 1002
    socket.end_sending()
    assert await socket.has_ended()


IDS_PER_FRAME = 1_700  # that 64 KiB hold


@pytest.mark.parametrize(
    "tiny",
    [frame_bytes(BINARY) * 10_000, frame_bytes(BINARY, ack_frame("", *[str(uuid4())] * IDS_PER_FRAME)) * 6],
    ids=["frames", "lists of ids"],
)
async def test_a_flood_of_tiny_frames_does_not_starve_others(api: Api, tiny: bytes) -> None:
    """While a client sends empty frames or ids as fast as it can, another gets its messages; the flood is held up."""
    alice, bob, mallory = await api.register(), await api.register(), await api.register()
    socket, flooder = await bob.connect(), await raw(mallory)
    pauses = metric("obscura_gateway_reads_paused_total")

    async def flood() -> None:
        while True:
            await flooder.send_bytes(tiny)

    flooding = asyncio.create_task(flood())
    contents = [b"%d" % number for number in range(30)]
    await alice.deliver(bob, *contents)
    assert [envelope.message.content for envelope in await socket.envelopes(30)] == contents
    await eventually(lambda: metric("obscura_gateway_reads_paused_total") > pauses)
    assert not flooding.done()
    flooding.cancel()


@pytest.mark.parametrize("per_frame", [1, IDS_PER_FRAME])
async def test_acks_of_made_up_ids_cannot_fill_the_memory(
    start_node: StartNode, own_redis: RedisServer, connect_api: Connect, per_frame: int
) -> None:
    """While Redis is away little more is remembered than an inbox holds, and the socket survives to be of use."""
    node = await start_node(redis_url=own_redis.url, max_inbox_size=100, ws_ping_interval_secs=0.2)
    api = connect_api(node)
    alice, bob = await api.register(), await api.register()
    await alice.deliver(bob, b"pending")
    socket = await raw(bob)
    (pending,) = await socket.envelopes(1)
    ids = MessageIds(uuid_of(bob))
    made_up_ids = [ids.encode(EntryId(1, number)).decode() for number in range(5_100)]
    made_up = [
        frame_bytes(BINARY, ack_frame(*made_up_ids[first : first + per_frame])) for first in range(0, 5_100, per_frame)
    ]
    own_redis.kill()
    acks = node._gateway._context.acks
    sending = asyncio.create_task(socket.send_bytes(b"".join(made_up) + frame_bytes(BINARY, ack_frame(pending.id))))
    await eventually(lambda: len(acks._waiting.get(uuid_of(bob), ())) > 100)
    own_redis.start()
    most = 0

    def all_are_written() -> bool:
        nonlocal most
        most = max(most, len(acks._waiting.get(uuid_of(bob), ())))
        return not inbox_of(own_redis, bob)

    await eventually(all_are_written)
    await sending
    assert most <= 2 * 100 + (1 if per_frame == 1 else 64)  # of a list as many as are taken in one turn
