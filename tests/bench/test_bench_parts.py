"""The parts of the load generator that a server could mislead: its HTTP, its WebSocket, its tracker, its clock."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from obscura.bench.cpus import format_cpus, parse_cpus
from obscura.bench.histogram import Latencies
from obscura.bench.message_tracker import MessageCounts, MessageTracker
from obscura.bench.options import parse
from obscura.bench.recorder import Recorder, Window, now
from obscura.bench.scenario_context import Schedule
from obscura.client.errors import ExchangeError
from obscura.client.http import HttpConnection, Traffic, request_head
from obscura.client.target import Target
from obscura.client.websocket import WebSocket, frame
from obscura.v1.obscura_pb2 import EncryptedMessage, Envelope, WebSocketFrame

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def serving(handler: Handler) -> AsyncIterator[Target]:
    """A server of raw bytes."""

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await handler(reader, writer)
        finally:
            writer.close()

    server = await asyncio.start_server(handle, "127.0.0.1", 0)
    async with server:
        yield Target("127.0.0.1", server.sockets[0].getsockname()[1], False)


def answering(*parts: bytes) -> Handler:
    """Answers each request with the same bytes, in parts."""

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(65_536):
            for part in parts:
                writer.write(part)
                await writer.drain()
                await asyncio.sleep(0)

    return handler


def one_by_one(raw: bytes) -> list[bytes]:
    return [raw[at : at + 1] for at in range(len(raw))]


@pytest.mark.parametrize(
    ("raw", "status", "body"),
    [
        (b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n", 201, b""),
        (b"HTTP/1.1 200 OK\r\ncontent-length:5\r\n\r\nhello", 200, b"hello"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", 204, b""),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", 200, b"ok"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n1\r\n!\r\n0\r\n\r\n", 200, b"hello!"),
    ],
)
async def test_an_answer_is_read_however_it_arrives(raw: bytes, status: int, body: bytes) -> None:
    """Whole or byte by byte, and the connection is kept for the next one."""
    for parts in ([raw], one_by_one(raw)):
        async with serving(answering(*parts)) as target:
            http = HttpConnection(target, Traffic(), 5)
            for _ in range(2):
                reply = await http.exchange(request_head(target, "GET", "/"))
                assert (reply.status, reply.body) == (status, body)
            http.close()


@pytest.mark.parametrize(
    ("handler", "kind"),
    [
        (answering(b"nonsense\r\n\r\n"), "answer is no HTTP"),
        (answering(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort"), "timeout"),
    ],
)
async def test_a_wrong_answer_has_its_kind(handler: Handler, kind: str) -> None:
    async with serving(handler) as target:
        http = HttpConnection(target, Traffic(), 0.2)
        with pytest.raises(ExchangeError, match=kind):
            await http.exchange(request_head(target, "GET", "/"))
        http.close()


async def test_a_connection_that_was_closed_opens_again() -> None:
    """A server may close a kept connection after an answer."""

    async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(65_536)
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()

    async with serving(once) as target:
        http = HttpConnection(target, Traffic(), 5)
        for _ in range(3):
            assert (await http.exchange(request_head(target, "GET", "/"))).status == 200
        http.close()


def server_frame(first: int, payload: bytes) -> bytes:
    size = len(payload)
    length = bytes([size]) if size < 126 else b"\x7e" + size.to_bytes(2, "big")
    return bytes([first]) + length + payload


async def test_messages_are_put_together_from_frames_in_pieces() -> None:
    """Fragments, a ping in between, and bytes that arrive one at a time."""
    received: list[bytes] = []
    socket = WebSocket(Traffic(), lambda _socket, messages: received.extend(messages))
    socket._is_upgraded = True
    raw = server_frame(0x82, b"whole") + server_frame(0x02, b"in ") + server_frame(0x89, b"?")
    raw += server_frame(0x80, b"parts") + server_frame(0x82, bytes(300))
    for byte in one_by_one(raw):
        socket.data_received(byte)
    assert received == [b"whole", b"in parts", bytes(300)]


@pytest.mark.parametrize("size", [0, 125, 126, 65_535, 65_536])
def test_a_client_frame_is_final_and_masked(size: int) -> None:
    """RFC 6455 section 5.2, at the edges of its three lengths."""
    built = frame(bytes(size))
    assert built[0] == 0x82
    assert built[1] & 0x80
    extra = {126: 2, 127: 8}.get(built[1] & 0x7F, 0)
    assert len(built) == 2 + extra + 4 + size
    assert (int.from_bytes(built[2 : 2 + extra], "big") or built[1] & 0x7F) == size


def envelope(body: bytes) -> bytes:
    message = Envelope(id="0" * 36, source_user_id="1" * 36, timestamp=1)
    message.message.CopyFrom(EncryptedMessage.FromString(body))
    return WebSocketFrame(envelope=message).SerializeToString()


def entered(tracker: MessageTracker) -> int:
    number = tracker.open(0)
    tracker.accepted(number)
    return number


def test_the_balance_tells_lost_doubled_late_and_unacked_apart() -> None:
    """Each of four messages has another fate."""
    tracker = MessageTracker(64)
    fine, lost, late, unacked = (entered(tracker) for _ in range(4))
    for number in (fine, unacked, fine):
        tracker.delivered(number)
    tracker.delivered_again(unacked)
    tracker.delivered_again(late)
    assert tracker.counts(received=True) == MessageCounts(
        sent=4, accepted=4, delivered=3, acked=1, duplicates=1, lost=1, late=1
    )
    assert not tracker.counts(received=True).is_balanced
    assert lost not in {fine, late, unacked}


def test_a_message_is_known_by_its_content() -> None:
    """Those of other runs are passed over, and one that was changed is noticed."""
    tracker = MessageTracker(500)
    number = entered(tracker)
    body = tracker.body(number)
    assert len(EncryptedMessage.FromString(body).content) == 500
    assert len(body) == tracker.body_bytes
    received = tracker.read(envelope(body))
    assert received is not None
    assert received.number == number
    foreign = tracker.read(envelope(MessageTracker(500).body(0)))
    assert foreign is not None
    assert foreign.number is None
    with pytest.raises(ExchangeError, match="changed"):
        tracker.read(envelope(body[:-1] + b"!"))
    with pytest.raises(ExchangeError, match="no WebSocketFrame"):
        tracker.read(b"\xff")


async def test_an_open_loop_keeps_its_appointments() -> None:
    """Who comes late gets a moment that has passed; none lies outside of the window."""
    start = now() - 1
    schedule = Schedule(parse(["--rate", "10"]), Window(start, start, start + 1))
    starts = [await schedule.next_start() for _ in range(11)]
    assert starts[:10] == pytest.approx([start + step / 10 for step in range(10)])
    assert starts[10] >= start + 1


def test_only_what_starts_in_the_window_is_measured() -> None:
    """The warm-up is not; a failure counts at any time."""
    recorder = Recorder(Window(0, now() + 1, now() + 2))
    recorder.completed("send", now())
    recorder.completed("send", now() + 1.5)
    recorder.failed("timeout")
    interval = recorder.take()
    latencies = Latencies()
    latencies.add(interval.latencies["send"])
    assert (latencies.count, interval.errors) == (1, {"timeout": 1})
    assert recorder.take().latencies == {}


def test_percentiles_survive_the_way_between_processes() -> None:
    """Two halves that were counted apart are one whole."""
    whole, halves = Latencies(), [Latencies(), Latencies()]
    for number in range(1, 1001):
        halves[number % 2].record(number / 1000)
    for half in halves:
        whole.add(half.encode())
    summary = whole.summary_ms()
    assert whole.count == 1000
    assert (summary["p50"], summary["p99"], summary["max"]) == pytest.approx((500, 990, 1000), rel=0.002)


def test_a_share_of_the_work_adds_up() -> None:
    """What does not divide is spread, not lost."""
    options = parse(["--users", "10", "--concurrency", "7", "--rate", "9", "--sockets", "100"])
    shares = [options.share(index, 3) for index in range(3)]
    assert sum(share.users for share in shares) == 10
    assert sum(share.concurrency for share in shares) == 7
    assert sum(share.rate_per_sec or 0 for share in shares) == pytest.approx(9)


def test_a_list_of_cpus_is_read_as_the_kernel_writes_it() -> None:
    assert parse_cpus("0,2-4") == {0, 2, 3, 4}
    assert format_cpus(parse_cpus("3,1-2")) == "1,2,3"
    for wrong in ("", "a", "-1", "3-1"):
        with pytest.raises(ValueError, match="CPU"):
            parse_cpus(wrong)
