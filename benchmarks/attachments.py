"""Fifty uploads of 50 MB at once, then as many downloads: MB/s and the growth of the server, beside a plain copy.

Usage: python -m benchmarks.attachments [--store directory|s3] [--count 50] [--megabytes 50]

The client sends one file again and again, in a process of its own with all connections;
the plain copy writes and syncs the same bytes in one thread, without any network. S3 is
Versity Gateway or moto's server, as in the tests. The figures hold for this machine alone.
"""

import argparse
import asyncio
import os
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import aiohttp

from benchmarks.processes import node
from tests.support.client import Api, User
from tests.support.node_process import resident_bytes
from tests.support.s3 import S3Server

_MB = 1_000_000
_CHUNK = os.urandom(262_144)
_SAMPLE_SECS = 0.05


class Growth:
    """The most a process grew while it was watched."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._over = threading.Event()
        self.bytes = 0

    @contextmanager
    def watched(self) -> Iterator[None]:
        before = resident_bytes(self._pid)
        watching = threading.Thread(target=self._watch, args=(before,))
        self._over.clear()
        watching.start()
        try:
            yield
        finally:
            self._over.set()
            watching.join()

    def _watch(self, before: int) -> None:
        while not self._over.wait(_SAMPLE_SECS):
            self.bytes = max(self.bytes, resident_bytes(self._pid) - before)


async def body(size: int) -> AsyncIterator[bytes]:
    for start in range(0, size, len(_CHUNK)):
        yield _CHUNK[: size - start]


async def upload(user: User, size: int) -> str:
    headers = {"Authorization": f"Bearer {user.token}", "Content-Length": str(size)}
    url = f"{user.api.url}/v1/attachments"
    async with user.api.session.post(url, data=body(size), headers=headers) as response:
        answer = await response.json()
        assert response.status == 201, answer
        return str(answer["id"])


async def download(user: User, attachment_id: str) -> int:
    headers = {"Authorization": f"Bearer {user.token}"}
    url = f"{user.api.url}/v1/attachments/{attachment_id}"
    size = 0
    async with user.api.session.get(url, headers=headers) as response:
        assert response.status == 200
        async for chunk in response.content.iter_any():
            size += len(chunk)
    return size


def plain_copy(count: int, size: int, folder: Path) -> float:
    """Seconds to write and sync as many bytes."""
    started = time.monotonic()
    for number in range(count):
        with (folder / str(number)).open("wb") as file:
            for start in range(0, size, len(_CHUNK)):
                file.write(_CHUNK[: size - start])
            file.flush()
            os.fsync(file.fileno())
    return time.monotonic() - started


async def measure(port: int, pid: int, count: int, size: int) -> None:
    connector, timeout = aiohttp.TCPConnector(limit=0), aiohttp.ClientTimeout(None)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
        user = await Api(session, port).register()
        await download(user, await upload(user, 10 * _MB))  # what is made at the first of its kind is no growth
        growth = Growth(pid)
        with growth.watched():
            started = time.monotonic()
            ids = await asyncio.gather(*(upload(user, size) for _ in range(count)))
            up_secs = time.monotonic() - started
        report("up", count * size, up_secs, growth.bytes)
        growth = Growth(pid)
        with growth.watched():
            started = time.monotonic()
            sizes = await asyncio.gather(*(download(user, one) for one in ids))
            down_secs = time.monotonic() - started
        assert set(sizes) == {size}
        report("down", count * size, down_secs, growth.bytes)


def report(name: str, size: int, seconds: float, grown_bytes: int | None = None) -> None:
    grown = "" if grown_bytes is None else f"   server grew by {grown_bytes / 2**20:.0f} MiB"
    print(f"{name:10} {size / _MB / seconds:8.0f} MB/s{grown}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--store", choices=("directory", "s3"), default="directory")
    parser.add_argument("--count", type=int, default=50)
    parser.add_argument("--megabytes", type=int, default=50)
    options = parser.parse_args()
    size = options.megabytes * _MB
    with tempfile.TemporaryDirectory() as folder:
        report("plain copy", options.count * size, plain_copy(options.count, size, Path(folder)))
    server = S3Server().start() if options.store == "s3" else None
    try:
        with node(storage_daily_bytes_per_account=0, **(server.settings() if server else {})) as relay:
            asyncio.run(measure(relay.port, relay.pid, options.count, size))
    finally:
        if server:
            server.remove()


if __name__ == "__main__":
    main()
