"""Both back ends of the blobs, on a real directory and a real S3 server."""

import asyncio
import os
import shutil
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from obscura.blobs import Blobs
from obscura.blobs.chunks import CHUNK_BYTES, rechunk
from obscura.blobs.directory import DirectoryBlobs
from obscura.blobs.instrumented import InstrumentedBlobs
from obscura.blobs.s3 import S3Blobs, S3Bucket
from obscura.errors import BlobStoreUnavailable, StartupError, StorageFull
from tests.support.proxy import Proxy
from tests.support.s3 import S3Server

pytestmark = pytest.mark.libraries

MIB = 2**20
PART_BYTES = 8 * MIB

LeftOver = Callable[[], Awaitable[list[str]]]


@pytest.fixture(scope="module")
def s3_server() -> Iterator[S3Server]:
    server = S3Server().start()
    yield server
    server.remove()


@pytest.fixture(params=["directory", "s3"])
async def blobs(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Blobs]:
    """One of each kind, started."""
    store: Blobs
    if request.param == "directory":
        store = DirectoryBlobs(tmp_path / "a" / "b")
    else:
        store = S3Blobs(request.getfixturevalue("s3_server").bucket())
    await store.start()
    yield store
    await store.stop()


@pytest.fixture
def left_over(request: pytest.FixtureRequest, blobs: Blobs, tmp_path: Path) -> LeftOver:
    """What lies in the store: whole blobs, and anything of others."""

    async def listed() -> list[str]:
        if isinstance(blobs, DirectoryBlobs):
            return files_under(tmp_path)
        server: S3Server = request.getfixturevalue("s3_server")
        return await server.left_over()

    return listed


def files_under(folder: Path) -> list[str]:
    return [file.name for file in folder.rglob("*") if file.is_file()]


async def stream(data: bytes, size: int = 100_000) -> AsyncIterator[bytes]:
    for start in range(0, len(data), size):
        yield data[start : start + size]


async def breaking(data: bytes, error: BaseException) -> AsyncIterator[bytes]:
    async for chunk in stream(data):
        yield chunk
    raise error


async def read(blobs: Blobs, blob_id: str, first: int, count: int) -> bytes:
    async with blobs.get(blob_id, first, count) as chunks:
        return await rest_of(chunks)


async def rest_of(chunks: AsyncIterator[bytes]) -> bytes:
    return b"".join([chunk async for chunk in chunks])


@pytest.mark.parametrize("size", [0, 1, CHUNK_BYTES, PART_BYTES - 1, PART_BYTES, PART_BYTES + 1, 20 * MIB])
async def test_what_goes_in_comes_out(blobs: Blobs, left_over: LeftOver, size: int) -> None:
    """Whatever its size, a blob is read back as it was, whole or in part, and is gone when deleted."""
    blob_id, data = str(uuid4()), os.urandom(size)
    await blobs.put(blob_id, stream(data))
    if size:
        assert await read(blobs, blob_id, 0, size) == data
        assert await read(blobs, blob_id, size // 3, size - size // 3) == data[size // 3 :]
        assert await read(blobs, blob_id, size // 2, 1) == data[size // 2 : size // 2 + 1]
    await blobs.delete(blob_id)
    assert await left_over() == []
    await blobs.delete(blob_id)


@pytest.mark.parametrize("size", [0, 1000, PART_BYTES + MIB])
async def test_a_stream_that_breaks_leaves_nothing(blobs: Blobs, left_over: LeftOver, size: int) -> None:
    """Its error comes out as it is, an OSError too, and neither a blob nor a part of one stays."""
    for error in (ConnectionResetError("the client"), OSError("the client"), TimeoutError(), RuntimeError()):
        with pytest.raises(type(error)) as caught:
            await blobs.put(str(uuid4()), breaking(bytes(size), error))
        assert caught.value is error
    assert await left_over() == []


async def test_an_upload_that_is_cancelled_leaves_nothing(blobs: Blobs, left_over: LeftOver) -> None:
    """Also in the middle of a large one."""
    waiting = asyncio.Event()

    async def stuck() -> AsyncIterator[bytes]:
        async for chunk in stream(bytes(PART_BYTES + MIB)):
            yield chunk
        waiting.set()
        await asyncio.Event().wait()

    putting = asyncio.create_task(blobs.put(str(uuid4()), stuck()))
    await waiting.wait()
    putting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await putting
    assert await left_over() == []


async def test_a_blob_is_not_visible_before_it_is_whole(blobs: Blobs) -> None:
    """While it goes up there is nothing to read."""
    blob_id = str(uuid4())
    seen: list[bool] = []

    async def watched() -> AsyncIterator[bytes]:
        async for chunk in stream(bytes(PART_BYTES + MIB), MIB):
            yield chunk
        with pytest.raises(BlobStoreUnavailable):
            await read(blobs, blob_id, 0, 1)
        seen.append(True)

    await blobs.put(blob_id, watched())
    assert seen
    await blobs.delete(blob_id)


async def test_a_blob_that_is_missing_or_short_is_the_stores_fault(blobs: Blobs) -> None:
    """What Redis says exists and the store has not, or not whole, is no clean end."""
    with pytest.raises(BlobStoreUnavailable):
        await read(blobs, str(uuid4()), 0, 10)
    blob_id = str(uuid4())
    await blobs.put(blob_id, stream(bytes(1000)))
    with pytest.raises(BlobStoreUnavailable):
        await read(blobs, blob_id, 0, 1001)
    await blobs.delete(blob_id)


async def test_a_reader_that_leaves_early_holds_nothing(blobs: Blobs) -> None:
    """Many downloads that break off midway keep nobody else out."""
    blob_id = str(uuid4())
    await blobs.put(blob_id, stream(bytes(4 * MIB)))
    for _ in range(20):
        async with blobs.get(blob_id, 0, 4 * MIB) as chunks:
            await anext(chunks)
    assert len(await read(blobs, blob_id, 0, 4 * MIB)) == 4 * MIB
    await blobs.delete(blob_id)


async def test_a_store_that_is_there_says_so(blobs: Blobs) -> None:
    """The health check of one in order."""
    assert await blobs.is_available()


async def test_a_directory_that_is_away_is_a_fault(tmp_path: Path) -> None:
    """Reads, writes and the health check say so; it works again when it is back."""
    blobs = DirectoryBlobs(tmp_path / "blobs")
    await blobs.start()
    shutil.rmtree(tmp_path / "blobs")
    assert not await blobs.is_available()
    with pytest.raises(BlobStoreUnavailable):
        await blobs.put("ab", stream(b"x"))
    (tmp_path / "blobs").mkdir()
    await blobs.put("ab", stream(b"x"))
    assert await blobs.is_available()
    await blobs.stop()


async def test_a_directory_that_cannot_be_made_stops_nothing(tmp_path: Path) -> None:
    """The node starts all the same, and says that its storage is away."""
    (tmp_path / "file").write_text("in the way")
    blobs = DirectoryBlobs(tmp_path / "file" / "blobs")
    await blobs.start()
    assert not await blobs.is_available()
    await blobs.stop()


async def test_files_are_for_their_owner_alone(tmp_path: Path) -> None:
    """Nobody else on the machine reads them."""
    blobs = DirectoryBlobs(tmp_path / "blobs")
    await blobs.start()
    await blobs.put("abcd", stream(b"x"))
    modes = [oct(one.stat().st_mode)[-3:] for one in (tmp_path / "blobs", *sorted((tmp_path / "blobs").rglob("*")))]
    assert modes == ["700", "700", "600"]
    await blobs.stop()


async def test_a_disk_that_is_full_is_a_fault_that_leaves_nothing(tmp_path: Path) -> None:
    """ENOSPC in the middle of a blob, as /dev/full gives it."""
    blobs = DirectoryBlobs(tmp_path / "blobs")
    await blobs.start()
    (tmp_path / "blobs/ab").mkdir()
    (tmp_path / "blobs/ab/abcd.part").symlink_to("/dev/full")
    with pytest.raises(BlobStoreUnavailable, match="No space"):
        await blobs.put("abcd", stream(bytes(MIB)))
    assert list((tmp_path / "blobs/ab").iterdir()) == []
    await blobs.stop()


async def test_the_reserve_of_the_disk_is_left_to_others(tmp_path: Path) -> None:
    """With less than that free no byte of an upload is read, and the health check says so."""
    blobs = DirectoryBlobs(tmp_path / "blobs", min_free_bytes=2**50)
    await blobs.start()
    chunks = stream(b"x")
    chunks = stream(b"x")
    with pytest.raises(StorageFull, match="only its reserve left"):
        await blobs.put("abcd", chunks)
    assert await anext(chunks) == b"x"
    assert not await blobs.is_available()
    assert files_under(tmp_path) == []
    await blobs.stop()


async def test_uploads_that_began_with_room_end_at_the_reserve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many there are at once: room is asked for before each write, and nothing is left of them."""
    blobs = DirectoryBlobs(tmp_path / "blobs", min_free_bytes=MIB)
    await blobs.start()
    disk, room = os.statvfs(tmp_path), iter([MIB, MIB + CHUNK_BYTES, MIB + CHUNK_BYTES - 1])
    free = lambda _: os.statvfs_result((1, 1, *disk[2:4], next(room), *disk[5:]))  # noqa: E731
    monkeypatch.setattr(os, "statvfs", free)
    with pytest.raises(StorageFull):
        await blobs.put("abcd", stream(bytes(MIB)))
    assert files_under(tmp_path) == []
    await blobs.stop()


async def test_the_last_files_of_a_disk_are_left_to_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Many small attachments fill a file system that has room for bytes, but not for files."""
    blobs = DirectoryBlobs(tmp_path / "blobs", min_free_bytes=1)
    await blobs.start()
    disk = os.statvfs(tmp_path)
    for counted, left, has_room in ((100_000, 999, False), (100_000, 1000, True), (0, 0, True)):
        changed = os.statvfs_result((*disk[:5], counted, left, left, *disk[8:]))
        monkeypatch.setattr(os, "statvfs", lambda _, changed=changed: changed)
        assert await blobs.is_available() is has_room
    await blobs.stop()


async def test_a_store_that_refused_a_write_is_away_until_it_takes_one(s3_server: S3Server, tmp_path: Path) -> None:
    """A directory or a bucket that answers and takes nothing; what was tried leaves nothing behind."""
    for inner in (DirectoryBlobs(tmp_path / "blobs"), S3Blobs(s3_server.bucket())):
        blobs = InstrumentedBlobs(inner)
        await blobs.start()
        put = inner.put
        inner.put = refuse  # type: ignore[method-assign]
        with pytest.raises(BlobStoreUnavailable):
            await blobs.put("abcd", stream(b"x"))
        assert not await blobs.is_available()
        assert await inner.is_available()
        inner.put = put  # type: ignore[method-assign]
        assert await blobs.is_available()
        await blobs.stop()
    assert files_under(tmp_path) == await s3_server.left_over() == []


async def refuse(_blob_id: str, _chunks: AsyncIterator[bytes]) -> None:
    raise BlobStoreUnavailable("read-only")


@pytest.fixture
async def impatient(s3_server: S3Server) -> AsyncIterator[tuple[S3Blobs, Proxy]]:
    """An S3 store behind a proxy, given up after half a second."""
    async with Proxy(("127.0.0.1", s3_server.port)) as proxy:
        blobs = S3Blobs(s3_server.bucket(proxy.port), timeout_secs=0.5, least_bytes_per_sec=PART_BYTES)
        await blobs.start()
        yield blobs, proxy
        await blobs.stop()


async def test_a_silent_server_is_given_up(impatient: tuple[S3Blobs, Proxy]) -> None:
    """Connections that are taken and never answered are a fault within the timeout, for every call."""
    blobs, proxy = impatient
    proxy.is_silent = True
    started = time.monotonic()
    for call in (blobs.put("a", stream(bytes(1000))), read(blobs, "a", 0, 1), blobs.delete("a")):
        with pytest.raises(BlobStoreUnavailable):
            await call
    assert not await blobs.is_available()
    assert time.monotonic() - started < 4


async def test_a_server_that_breaks_off_midway_is_a_fault(
    impatient: tuple[S3Blobs, Proxy], s3_server: S3Server
) -> None:
    """A download cut in the middle does not end like a whole one."""
    blobs, proxy = impatient
    await blobs.put("cut", stream(bytes(8 * MIB)))
    async with blobs.get("cut", 0, 8 * MIB) as chunks:
        await anext(chunks)
        proxy.reset(b"GET")
        with pytest.raises(BlobStoreUnavailable):
            await rest_of(chunks)
    await blobs.delete("cut")
    assert await s3_server.left_over() == []


async def test_what_could_not_be_aborted_is_removed_later(
    impatient: tuple[S3Blobs, Proxy], s3_server: S3Server
) -> None:
    """The parts of an upload whose server went away midway go with `delete`."""
    blobs, proxy = impatient

    async def falling_silent() -> AsyncIterator[bytes]:
        yield bytes(PART_BYTES + MIB)
        proxy.is_silent = True
        proxy.reset()
        yield bytes(PART_BYTES)

    with pytest.raises(BlobStoreUnavailable):
        await blobs.put("parts", falling_silent())
    assert await s3_server.left_over() == ["parts"]
    proxy.is_silent = False
    proxy.reset()
    await blobs.delete("parts")
    assert await s3_server.left_over() == []


async def test_a_bucket_that_is_not_there_is_a_fault(s3_server: S3Server) -> None:
    """Each call says so; it is no reason to say that an attachment is not found."""
    blobs = S3Blobs(s3_server.bucket(name="another"))
    await blobs.start()
    for call in (blobs.put("a", stream(b"x")), read(blobs, "a", 0, 1), blobs.delete("a")):
        with pytest.raises(BlobStoreUnavailable, match="NoSuchBucket"):
            await call
    assert not await blobs.is_available()
    await blobs.stop()


@pytest.mark.parametrize(
    "bucket",
    [
        S3Bucket("b", "us-east-1", "no url", "a", "b", True),
        S3Bucket("b", "us-east-1", None, "a", None, True),
        S3Bucket("b", "no region", None, "a", "b", True),
    ],
)
async def test_settings_that_make_no_sense_stop_the_start(bucket: S3Bucket) -> None:
    """An operator is told at once, in a sentence."""
    blobs = S3Blobs(bucket)
    with pytest.raises(StartupError, match="storage settings"):
        await blobs.start()
    await blobs.stop()


async def test_chunks_are_gathered_to_an_even_size() -> None:
    """Many small ones and few large ones alike."""
    data = os.urandom(3 * CHUNK_BYTES + 7)
    for size in (1000, CHUNK_BYTES, len(data)):
        chunks = [chunk async for chunk in rechunk(stream(data, size))]
        assert b"".join(chunks) == data
        assert [len(chunk) for chunk in chunks] == [CHUNK_BYTES] * 3 + [7]
