"""Blobs as files of a directory: for a single machine, or one shared file system.

``<first two letters of the id>/<id>`` holds a whole blob. A blob on its way in is a
``.part`` beside it, which becomes the file by a rename once its bytes are on disk.

A part of the disk is left to others, first of all to a Redis that has its file there: no byte
is written into the reserve. So attachments alone cannot fill a disk.
"""

import asyncio
import errno
import os
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from functools import partial
from io import BufferedReader
from pathlib import Path
from typing import BinaryIO, TypeVar

from obscura.blobs.chunks import CHUNK_BYTES, rechunk
from obscura.errors import BlobStoreUnavailable, StorageFull
from obscura.files import make_directory, sync_directory

_THREADS = 8  # of its own: a disk that hangs must not hold up what others do in threads
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_MIN_FREE_FILES = 1000  # entries of the file system that are left to others, where it counts them

T = TypeVar("T")


class DirectoryBlobs:
    """Blobs in the files of one directory, read and written in threads of its own.

    Args:
        folder: Made if need be, for its owner alone.
        min_free_bytes: Of its file system, left free; 0: it may be filled.
    """

    def __init__(self, folder: Path, min_free_bytes: int = 0) -> None:
        self._folder = folder
        self._min_free_bytes = min_free_bytes
        self._refused_bytes = 0  # of the last blob that found no room, as far as it came
        self._threads = ThreadPoolExecutor(_THREADS, "attachments")

    async def start(self) -> None:
        with suppress(BlobStoreUnavailable):  # `is_available` says so
            await self._run(partial(make_directory, self._folder))

    async def stop(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def put(self, blob_id: str, chunks: AsyncIterator[bytes]) -> None:
        path = self._path(blob_id)
        temporary_path = _temporary_path(path)
        try:
            file = await self._finish(partial(self._create, temporary_path))
            try:
                async for chunk in rechunk(chunks):
                    await self._finish(partial(self._write, file, chunk))
                await self._finish(partial(_sync, file))
            finally:
                await self._finish(file.close)
            await self._finish(partial(_publish, temporary_path, path))
        except BaseException:
            with suppress(BlobStoreUnavailable):  # then it goes with its id, at the next clean-up
                await self._finish(partial(temporary_path.unlink, missing_ok=True))
            raise

    @asynccontextmanager
    async def get(self, blob_id: str, first: int, count: int) -> AsyncIterator[AsyncIterator[bytes]]:
        file = await self._run(partial(_open_at, self._path(blob_id), first))
        try:
            yield self._read(file, count)
        finally:
            await self._run(file.close)

    async def delete(self, blob_id: str) -> None:
        path = self._path(blob_id)
        for obsolete in (_temporary_path(path), path):
            await self._run(partial(obsolete.unlink, missing_ok=True))

    async def is_available(self) -> bool:
        try:
            return await self._run(self._is_usable)
        except BlobStoreUnavailable:
            return False

    def _is_usable(self) -> bool:
        if not os.access(self._folder, os.W_OK | os.X_OK) or not self._has_room_for(self._refused_bytes):
            return False
        self._refused_bytes = 0
        return True

    def _has_room_for(self, size_bytes: int) -> bool:
        """Whether so many bytes, and one file, leave the reserve as it is."""
        disk = os.statvfs(self._folder)
        counts_files = disk.f_files > 0
        if self._min_free_bytes and counts_files and disk.f_favail < _MIN_FREE_FILES:
            return False
        return disk.f_bavail * disk.f_frsize - size_bytes >= self._min_free_bytes

    def _create(self, path: Path) -> BinaryIO:
        self._require_room(0, 0)
        path.parent.mkdir(mode=0o700, exist_ok=True)
        return open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb")

    def _write(self, file: BinaryIO, chunk: bytes | bytearray) -> None:
        written_bytes = file.tell()
        # Each time, for uploads that began with room for one may be many.
        self._require_room(written_bytes, len(chunk))
        try:
            file.write(chunk)
        except OSError as error:
            if error.errno in _FULL:
                self._refused_bytes = written_bytes + len(chunk)
            raise

    def _require_room(self, written_bytes: int, more_bytes: int) -> None:
        if not self._has_room_for(more_bytes):
            self._refused_bytes = written_bytes + more_bytes
            raise StorageFull("the disk of the attachment directory has only its reserve left")

    async def _read(self, file: BufferedReader, count: int) -> AsyncIterator[bytes]:
        # A thread allocates in an arena of its own, which keeps what was freed there: so the
        # threads fill a buffer made here, and the chunks are made here too.
        buffer = memoryview(bytearray(min(CHUNK_BYTES, count)))
        left = count
        while left > 0:
            size = await self._run(partial(file.readinto, buffer[:left]))
            if not size:
                raise BlobStoreUnavailable("an attachment is shorter than it was")
            left -= size
            yield bytes(buffer[:size])

    async def _finish(self, call: Callable[[], T]) -> T:
        """As `_run`, but a call that has begun is waited for, even if the caller is cancelled."""
        running = asyncio.ensure_future(self._run(call))
        try:
            return await asyncio.shield(running)
        except asyncio.CancelledError:
            await asyncio.wait({running})
            raise

    async def _run(self, call: Callable[[], T]) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, call)
        except OSError as error:
            raise BlobStoreUnavailable(f"the attachment directory fails: {error.strerror}") from error

    def _path(self, blob_id: str) -> Path:
        return self._folder / blob_id[:2] / blob_id


def _temporary_path(path: Path) -> Path:
    return path.with_suffix(".part")


def _open_at(path: Path, position: int) -> BufferedReader:
    file = path.open("rb")
    file.seek(position)
    return file


def _sync(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def _publish(temporary_path: Path, path: Path) -> None:
    temporary_path.replace(path)
    for folder in (path.parent, path.parent.parent):  # the second one's entry of the first may be new
        sync_directory(folder)
