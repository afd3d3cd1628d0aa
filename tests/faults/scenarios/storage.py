"""An S3 that is away, slow, at fault, or breaks off: messages go on, and nothing is left behind."""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

import aiohttp

from obscura.store import keyspace
from tests.faults import checker
from tests.faults.report import Findings
from tests.faults.testbed import Testbed, on_redis
from tests.support.client import Answer, Api, User
from tests.support.proxy import Proxy
from tests.support.redis7 import RedisProcess
from tests.support.s3 import S3Server
from tests.support.waiting import eventually

_SIZE_BYTES = 300_000
_RATE_PER_SEC = 100
_LENGTH_SECS = 1.0
_SLOW_SECS = 0.5
_PROMPT_SECS = 1.0  # a message, while attachments are in trouble; a refusal would take longer
_SETTINGS = {"storage_cleanup_interval_secs": 0.5, "access_token_ttl_secs": 900}
_REFUSING = ("away", "at fault", "hanging")  # in these troubles no byte of an attachment can be had
_INTERNAL_ERROR = b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
_BROKEN_OFF = b"HTTP/1.1 206 Partial Content\r\nContent-Length: %d\r\n\r\n" % _SIZE_BYTES + bytes(1000)


async def storage_hurt(testbed: Testbed, times: int, found: Findings) -> None:
    """S3 goes through every trouble while messages and attachments are sent, on nodes and a Redis of their own."""
    server = await asyncio.to_thread(S3Server().start)
    try:
        async with RedisProcess() as redis, Proxy(("127.0.0.1", server.port)) as proxy:
            settings = server.settings(proxy.port) | _SETTINGS
            seed = testbed.random.randrange(2**32)
            async with on_redis([redis.url] * 2, seed, 8, _RATE_PER_SEC, **settings) as own:
                own.redis = redis
                async with _Trouble(proxy).servers() as troubles:
                    for _ in range(times):
                        await _hurt(own, troubles, found)
                await _nothing_is_left(redis, server, found)
    finally:
        server.remove()


class _Trouble:
    """What may be wrong with a storage behind a proxy."""

    def __init__(self, proxy: Proxy) -> None:
        self._proxy = proxy
        self._upstream = proxy.upstream

    @asynccontextmanager
    async def servers(self) -> AsyncIterator[dict[str, Callable[[], None]]]:
        """What starts each trouble, by its name; ``none`` ends all."""
        async with _answering(_INTERNAL_ERROR) as at_fault, _answering(_BROKEN_OFF) as breaking_off:
            yield {
                "away": lambda: self._go_to(1),  # where nobody listens
                "at fault": lambda: self._go_to(at_fault),
                "breaking off": lambda: self._go_to(breaking_off),
                "slow": self._slow_down,
                "hanging": self._proxy.cut_off,
                "none": self._end,
            }

    def _go_to(self, port: int) -> None:
        self._proxy.upstream = ("127.0.0.1", port)
        self._proxy.reset()

    def _slow_down(self) -> None:
        self._proxy.delay_secs = _SLOW_SECS

    def _end(self) -> None:
        self._proxy.heal()
        self._proxy.delay_secs = 0.0
        self._proxy.upstream = self._upstream
        self._proxy.reset()


async def _hurt(testbed: Testbed, troubles: dict[str, Callable[[], None]], found: Findings) -> None:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(60)) as session:
        user = await Api(session, testbed.nodes[0].port).register()
        content = os.urandom(_SIZE_BYTES)
        stored = await _upload(user, content)
        assert stored is not None
        for name, begin in troubles.items():
            if name == "none":
                continue
            async with testbed.crowd.round() as history, testbed.crowd.at_work():
                begin()
                try:
                    await _use(testbed, user, stored, content, name, found)
                finally:
                    troubles["none"]()
            found.read(history)
            found.faults += checker.failed(history)
            found.at_most("s of the slowest message", checker.slowest_answer(history), _PROMPT_SECS)
            found.repetitions += 1
            await eventually(lambda: _download_is_right(user, stored, content))


async def _use(testbed: Testbed, user: User, stored: str, content: bytes, name: str, found: Findings) -> None:
    """Uploads and downloads in a trouble: each succeeds as a whole, or fails in a way that says: come again."""
    until = testbed.now + _LENGTH_SECS
    while testbed.now < until:
        download, upload = await asyncio.gather(_download(user, stored), _upload_answer(user, content))
        _judge(download, upload, content, name, found)
        for node in testbed.nodes:
            status, _ = await node.readiness()
            found.expect(status == 200, f"a node was not ready because its storage was {name}")


def _judge(download: Answer | None, upload: Answer | None, content: bytes, name: str, found: Findings) -> None:
    """None is an answer that broke off before its length."""
    down, up = (answer.status if answer is not None else 0 for answer in (download, upload))
    if name in _REFUSING:
        found.expect(down == 503, f"a download was answered {down}, storage {name}")
    elif down != 200 or download is None or download.body != content:
        found.expect(down in (0, 503), f"a download was answered {down}, storage {name}")
    found.expect(up in (0, 201, 503), f"an upload was answered {up}, storage {name}")


async def _upload_answer(user: User, content: bytes) -> Answer | None:
    with suppress(aiohttp.ClientError):
        return await user.api.call("POST", "/v1/attachments", token=user.token, data=content)
    return None


async def _upload(user: User, content: bytes) -> str | None:
    answer = await _upload_answer(user, content)
    return str(answer.json["id"]) if answer is not None and answer.status == 201 else None


async def _download(user: User, stored: str) -> Answer | None:
    with suppress(aiohttp.ClientError):
        return await user.api.call("GET", f"/v1/attachments/{stored}", token=user.token)
    return None


async def _download_is_right(user: User, stored: str, content: bytes) -> bool:
    answer = await _download(user, stored)
    return answer is not None and answer.status == 200 and answer.body == content


async def _nothing_is_left(redis: RedisProcess, server: S3Server, found: Findings) -> None:
    """Have everything expire that there is a note of; then nothing may be there."""
    with redis.client() as client:
        names = client.zrange(keyspace.ATTACHMENT_EXPIRY, 0, -1)
        client.zadd(keyspace.ATTACHMENT_EXPIRY, dict.fromkeys(names, int(time.time() * 1000) - 1))
        found.worst("attachments to clean up", len(names))
        await eventually(lambda: client.zcard(keyspace.ATTACHMENT_EXPIRY) == 0, 60)
    left = await server.left_over()
    found.expect(not left, f"{len(left)} objects were left behind")


@asynccontextmanager
async def _answering(answer: bytes) -> AsyncIterator[int]:
    """A server that gives everybody the same answer and hangs up; gives its port."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield int(server.sockets[0].getsockname()[1])
    finally:
        server.close()
