"""/v1/attachments over both back ends: limits, ranges, what is left behind, and whose fault a fault is."""

import asyncio
import io
import json
import os
import shutil
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import aiohttp
import pytest

from obscura.node.node import Node
from obscura.store import keyspace
from tests.conftest import StartNode
from tests.support.client import Answer, Api, User, exchange
from tests.support.inspection import metric
from tests.support.outages import is_refusal, killed
from tests.support.proxy import Proxy
from tests.support.raw_socket import RawSocket
from tests.support.redis import RedisServer
from tests.support.s3 import S3Server
from tests.support.waiting import eventually

KIB, MIB = 2**10, 2**20
LIMIT = 300 * KIB
PATH = "/v1/attachments"
DATA = os.urandom(200 * KIB)

StartRelay = Callable[..., Awaitable["Relay"]]


@pytest.fixture(scope="module")
def s3_server() -> Iterator[S3Server]:
    server = S3Server().start()
    yield server
    server.remove()


@dataclass
class Relay:
    """A node with a user, and a look at what its blob store holds."""

    node: Node
    user: User
    left_over: Callable[[], Awaitable[list[str]]]

    @property
    def port(self) -> int:
        return self.node.api_port

    async def upload(self, data: Any, **options: Any) -> Answer:
        return await self.user.api.call("POST", PATH, token=self.user.token, data=data, **options)

    async def stored(self, data: bytes = DATA) -> str:
        """The path of a new attachment."""
        answer = await self.upload(io.BytesIO(data))
        assert answer.status == 201, answer
        return f"{PATH}/{answer.json['id']}"

    async def get(self, path: str, method: str = "GET", **headers: str) -> Answer:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.user.api.call(method, path, token=self.user.token, headers=named)

    def head(self, *lines: str) -> bytes:
        """The head of an upload, as bytes to be sent."""
        all_lines = (f"POST {PATH} HTTP/1.1", "Host: x", f"Authorization: Bearer {self.user.token}", *lines)
        return "\r\n".join([*all_lines, "", ""]).encode()


@pytest.fixture
def start_on_directory(
    start_node: StartNode, session: aiohttp.ClientSession, tmp_path: Path, own_redis: RedisServer
) -> StartRelay:
    """Starts a node that keeps attachments in a directory, on a Redis of the test's own."""

    async def left_over() -> list[str]:
        return files_under(tmp_path / "blobs")

    async def start(**settings: Any) -> Relay:
        given = {"redis_url": own_redis.url, "storage_max_size_bytes": LIMIT, "storage_dir": tmp_path / "blobs"}
        node = await start_node(**given | settings)
        return Relay(node, await Api(session, node.api_port).register(), left_over)

    return start


def files_under(folder: Path) -> list[str]:
    return [file.name for file in folder.rglob("*") if file.is_file()]


@pytest.fixture(params=["directory", "s3"])
async def relay(request: pytest.FixtureRequest, start_on_directory: StartRelay) -> Relay:
    """A relay on each kind of store; an attachment may have 300 KiB."""
    if request.param == "directory":
        return await start_on_directory()
    server: S3Server = request.getfixturevalue("s3_server")
    relay = await start_on_directory(**server.settings())
    before = await server.left_over()

    async def left_over() -> list[str]:
        return [key for key in await server.left_over() if key not in before]

    relay.left_over = left_over
    return relay


@pytest.fixture
async def simple(start_on_directory: StartRelay) -> Relay:
    """A relay on a directory, for what does not depend on the store."""
    return await start_on_directory()


async def pieces(data: bytes, size: int = 10_000) -> AsyncIterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


def due(redis: RedisServer) -> list[str]:
    """The attachments that are listed for clean-up, sooner or later."""
    with redis.client as client:
        return client.zrange(keyspace.ATTACHMENT_EXPIRY, 0, -1)


@pytest.mark.parametrize("is_chunked", [False, True])
async def test_an_attachment_comes_back_as_it_was(relay: Relay, is_chunked: bool) -> None:
    """With a length or chunked; the answer says until when, in seconds, and the bytes are counted."""
    bytes_in, bytes_out = (metric(f"obscura_attachment_bytes_{way}_total") for way in ("in", "out"))
    answer = await relay.upload(pieces(DATA) if is_chunked else DATA)
    assert answer.status == 201
    assert answer.json.keys() == {"id", "expiresAt"}
    assert abs(answer.json["expiresAt"] - time.time() - 30 * 86_400) < 60
    got = await relay.get(f"{PATH}/{answer.json['id']}")
    assert (got.status, got.body) == (200, DATA)
    assert metric("obscura_attachment_bytes_in_total") == bytes_in + len(DATA)
    assert metric("obscura_attachment_bytes_out_total") == bytes_out + len(DATA)


async def test_a_download_is_safe_to_open(simple: Relay) -> None:
    """No browser runs or shows it, and nobody keeps a copy."""
    answer = await simple.get(await simple.stored())
    assert answer.headers["Content-Type"] == "application/octet-stream"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Content-Disposition"] == "attachment"
    assert answer.headers["Cache-Control"] == "no-store"
    assert answer.headers["Accept-Ranges"] == "bytes"
    assert answer.headers["Content-Length"] == str(len(DATA))


@pytest.mark.parametrize("is_chunked", [False, True])
async def test_exactly_the_limit_is_fine(relay: Relay, is_chunked: bool) -> None:
    """The limit itself belongs to what is allowed."""
    data = bytes(LIMIT)
    assert (await relay.upload(pieces(data) if is_chunked else data)).status == 201


async def test_an_empty_attachment_is_fine(relay: Relay) -> None:
    """It is stored like any other, and has no range."""
    path = await relay.stored(b"")
    answer = await relay.get(path)
    assert (answer.status, answer.body, answer.headers["Content-Length"]) == (200, b"", "0")
    answer = await relay.get(path, Range="bytes=0-")
    assert (answer.status, answer.headers["Content-Range"]) == (416, "bytes */0")


@pytest.mark.parametrize("is_chunked", [False, True])
async def test_over_the_limit_is_refused_and_leaves_nothing(
    relay: Relay, own_redis: RedisServer, is_chunked: bool
) -> None:
    """One byte more is a 400, whether its length was declared or not."""
    data = bytes(LIMIT + 1)
    answer = await relay.upload(pieces(data) if is_chunked else data)
    assert (answer.status, answer.error) == (400, "Attachment too large")
    assert await relay.left_over() == due(own_redis) == []


async def test_a_declared_length_is_refused_before_the_body(simple: Relay) -> None:
    """The answer does not wait for a byte of it."""
    answer = await exchange(simple.port, simple.head("Content-Length: 99999999999"))
    assert (answer.status, answer.error) == (400, "Attachment too large")


async def test_a_stream_is_refused_when_it_passes_the_limit(simple: Relay) -> None:
    """The answer does not wait for its end."""
    chunk = b"%x\r\n%s\r\n" % (LIMIT + 1, bytes(LIMIT + 1))
    answer = await exchange(simple.port, simple.head("Transfer-Encoding: chunked") + chunk)
    assert (answer.status, answer.error) == (400, "Attachment too large")


@pytest.mark.parametrize("framing", [f"Content-Length: {LIMIT}", "Transfer-Encoding: chunked"])
async def test_a_client_that_goes_away_leaves_nothing(relay: Relay, own_redis: RedisServer, framing: str) -> None:
    """Reset or closed midway: no bytes and no entry stay, and it is nobody's error."""
    faults = metric("obscura_http_requests_total", method="POST", route=PATH, status="503")
    for leave in (RawSocket.reset, RawSocket.close):
        client = await RawSocket.connect(relay.port)
        await client.send_bytes(relay.head(framing) + b"2710\r\n" + bytes(10_000) + b"\r\n")
        await eventually(lambda: due(own_redis))
        leave(client)
        await eventually(lambda: not due(own_redis))
    assert await relay.left_over() == []
    assert metric("obscura_http_requests_total", method="POST", route=PATH, status="503") == faults


async def test_a_body_that_is_not_framed_right_leaves_nothing(relay: Relay, own_redis: RedisServer) -> None:
    """Broken chunks are the client's fault: 400."""
    answer = await exchange(relay.port, relay.head("Transfer-Encoding: chunked") + b"5\r\nhello\r\nno size\r\n")
    assert answer.status == 400
    await eventually(lambda: not due(own_redis))
    assert await relay.left_over() == []


async def test_a_compressed_body_is_refused(simple: Relay) -> None:
    """Nobody could say how large it is."""
    answer = await simple.upload(b"x", headers={"Content-Encoding": "gzip"})
    assert answer.status == 415


async def test_only_users_have_attachments(simple: Relay) -> None:
    """Without a token there is neither an upload nor a download."""
    path = await simple.stored()
    api = simple.user.api
    for method, at in (("POST", PATH), ("GET", path), ("HEAD", path)):
        assert (await api.call(method, at, data=b"x" if method == "POST" else None)).status == 401
        assert (await api.call(method, at, token="no token")).status == 401


async def test_an_unknown_id_is_not_found(simple: Relay) -> None:
    """404 for an id that was never given out, 400 for what is no id."""
    answer = await simple.get(f"{PATH}/{uuid4()}", If_None_Match="*")
    assert (answer.status, answer.error) == (404, "Attachment not found or expired")
    for name in ("x", "..%2F..%2Fetc%2Fpasswd", uuid4().hex, f"{uuid4()}.part"):
        assert (await simple.get(f"{PATH}/{name}")).status == 400


async def test_an_expired_attachment_is_not_found(start_on_directory: StartRelay) -> None:
    """From the moment it says, whether it was cleaned up or not."""
    relay = await start_on_directory(ttl_days=0.3 / 86_400)
    path = await relay.stored()

    async def status() -> int:
        return (await relay.get(path)).status

    await eventually(lambda: is_result(status(), 404))
    assert await relay.left_over() != []


async def is_result(asked: Awaitable[object], wanted: object) -> bool:
    return await asked == wanted


async def test_a_part_can_be_asked_for(relay: Relay) -> None:
    """206 with the bytes and where they lie."""
    path, size = await relay.stored(), len(DATA)
    for asked, first, last in (
        ("bytes=0-0", 0, 0),
        ("bytes=100-150000", 100, 150_000),
        ("bytes=1000-", 1000, size - 1),
        ("bytes=-10", size - 10, size - 1),
        (f"bytes=5-{10 * size}", 5, size - 1),
    ):
        answer = await relay.get(path, Range=asked)
        assert (answer.status, answer.body) == (206, DATA[first : last + 1])
        assert answer.headers["Content-Range"] == f"bytes {first}-{last}/{size}"


async def test_a_part_beyond_the_end_is_refused(simple: Relay) -> None:
    """416 says how many bytes there are."""
    answer = await simple.get(await simple.stored(), Range=f"bytes={len(DATA)}-")
    assert (answer.status, answer.headers["Content-Range"]) == (416, f"bytes */{len(DATA)}")
    assert answer.error


@pytest.mark.parametrize("asked", ["bytes=0-1,5-6", "bytes=x", "lines=0-1"])
async def test_what_is_no_single_range_gets_the_whole(simple: Relay, asked: str) -> None:
    """Several, malformed or in another unit: 200."""
    answer = await simple.get(await simple.stored(), Range=asked)
    assert (answer.status, answer.body) == (200, DATA)
    assert "Content-Range" not in answer.headers


async def test_a_resumed_download_goes_on_or_starts_over(simple: Relay) -> None:
    """If-Range with the ETag gives the part, with anything else the whole."""
    path = await simple.stored()
    etag = (await simple.get(path, "HEAD")).headers["ETag"]
    assert (await simple.get(path, Range="bytes=5-", If_Range=etag)).status == 206
    for other in ('"another"', f"W/{etag}", "Sat, 31 Jan 2026 12:00:00 GMT"):
        assert (await simple.get(path, Range="bytes=5-", If_Range=other)).status == 200


async def test_what_a_client_has_is_not_sent_again(simple: Relay) -> None:
    """If-None-Match with the ETag, alone or among others, is a 304 without a body."""
    path = await simple.stored()
    etag = (await simple.get(path)).headers["ETag"]
    for given in (etag, f'"other", {etag}', f"W/{etag}", "*"):
        for method in ("GET", "HEAD"):
            answer = await simple.get(path, method, If_None_Match=given, Range="bytes=0-1")
            assert (answer.status, answer.body, answer.headers["ETag"]) == (304, b"", etag)
    assert (await simple.get(path, If_None_Match='"other"')).status == 200


async def test_head_tells_the_size(relay: Relay) -> None:
    """The headers of the whole, without a body; a range means nothing to it."""
    path = await relay.stored()
    whole = await relay.get(path)
    for headers in ({}, {"Range": "bytes=5-6"}):
        answer = await relay.get(path, "HEAD", **headers)
        assert (answer.status, answer.body) == (200, b"")
        assert all(answer.headers[name] == whole.headers[name] for name in ("Content-Length", "ETag", "Content-Type"))
    assert (await relay.get(f"{PATH}/{uuid4()}", "HEAD")).status == 404


async def test_redis_away_is_no_verdict_on_an_attachment(simple: Relay, own_redis: RedisServer) -> None:
    """Uploads and downloads are 503 with Retry-After, and go on when it is back."""
    path = await simple.stored()
    with killed(own_redis):
        assert is_refusal(await simple.get(path))
        assert is_refusal(await simple.upload(DATA))
    await eventually(lambda: is_result(status_of(simple, path), 200))


async def status_of(relay: Relay, path: str) -> int:
    return (await relay.get(path)).status


async def is_degraded(relay: Relay) -> bool:
    """Whether the node says that its storage is away, and that clients may come all the same."""
    answer = await Api(relay.user.api.session, relay.node.management_port).call("GET", "/readyz")
    assert answer.status == 200
    return answer.json["storage"] == "error" and answer.json["status"] == "degraded"


async def assert_messages_flow(relay: Relay) -> None:
    started = time.monotonic()
    assert (await relay.user.send(relay.user, b"hello")).status == 201
    assert time.monotonic() - started < 1


async def test_a_directory_that_is_away_is_a_fault_of_ours(simple: Relay, tmp_path: Path) -> None:
    """503, never 404; messages flow, and the node is degraded until it is back."""
    path = await simple.stored()
    (tmp_path / "blobs").rename(tmp_path / "away")
    assert is_refusal(await simple.get(path))
    assert is_refusal(await simple.upload(DATA))
    assert await is_degraded(simple)
    await assert_messages_flow(simple)
    (tmp_path / "away").rename(tmp_path / "blobs")
    assert await status_of(simple, path) == 200
    assert not await is_degraded(simple)


@pytest.mark.parametrize("is_hung", [False, True])
async def test_s3_away_is_a_fault_of_ours(start_on_directory: StartRelay, s3_server: S3Server, is_hung: bool) -> None:
    """Gone or hung: 503 within seconds, never 404; messages flow, the node is degraded, and it all comes back."""
    async with Proxy(("127.0.0.1", s3_server.port)) as proxy:
        relay = await start_on_directory(**s3_server.settings(proxy.port), storage_health_timeout_ms=300)
        path = await relay.stored()
        proxy.reset()
        proxy.is_silent, upstream = is_hung, proxy.upstream
        proxy.upstream = upstream if is_hung else ("127.0.0.1", 1)
        started = time.monotonic()
        answers = asyncio.gather(relay.get(path), relay.upload(DATA))
        assert await is_degraded(relay)
        await assert_messages_flow(relay)
        assert [is_refusal(answer) for answer in await answers] == [True, True]
        assert time.monotonic() - started < 10
        proxy.is_silent, proxy.upstream = False, upstream
        proxy.reset()
        assert (await relay.get(path)).body == DATA
        assert not await is_degraded(relay)


async def test_a_download_cut_midway_does_not_end_cleanly(start_on_directory: StartRelay, tmp_path: Path) -> None:
    """When the store fails after the headers went out the connection breaks, and the client knows."""
    relay = await start_on_directory(storage_max_size_bytes=64 * MIB)
    path = await relay.stored(bytes(32 * MIB))
    headers = {"Authorization": f"Bearer {relay.user.token}"}
    async with relay.user.api.session.get(relay.user.api.url + path, headers=headers) as response:
        assert response.status == 200
        os.truncate(next((tmp_path / "blobs").rglob(path.rpartition("/")[2])), MIB)
        with pytest.raises(aiohttp.ClientError):
            await response.read()
    await assert_messages_flow(relay)


async def test_a_blob_that_is_lost_is_not_called_unknown(simple: Relay, tmp_path: Path) -> None:
    """A file that the directory should have and has not: 503, before any header says otherwise."""
    path = await simple.stored()
    shutil.rmtree(tmp_path / "blobs")
    assert is_refusal(await simple.get(path))
    assert is_refusal(await simple.get(path, Range="bytes=1-2"))


async def test_a_client_that_leaves_a_download_is_nobodys_fault(relay: Relay) -> None:
    """Its end is not counted as one of the store, and others go on."""
    path = await relay.stored()
    faults = metric("obscura_http_requests_total", method="GET", route=f"{PATH}/{{id}}", status="503")
    for _ in range(5):
        client = await RawSocket.connect(relay.port, receive_buffer_bytes=4096)
        head = f"GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {relay.user.token}\r\n\r\n"
        await client.send_bytes(head.encode())
        await client.read_some(100)
        client.reset()
    assert (await relay.get(path)).body == DATA
    assert metric("obscura_http_requests_total", method="GET", route=f"{PATH}/{{id}}", status="503") == faults


async def test_a_connection_serves_several_uploads(simple: Relay) -> None:
    """Keep-alive holds across them."""
    reader, writer = await asyncio.open_connection("127.0.0.1", simple.port)
    for _ in range(3):
        writer.write(simple.head(f"Content-Length: {len(DATA)}") + DATA)
        head = await reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 201")
        size = int(next(line for line in head.splitlines() if line.startswith(b"Content-Length")).split()[1])
        assert json.loads(await reader.readexactly(size))["id"]
    writer.close()
