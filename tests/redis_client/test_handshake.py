"""Opening a connection: what is said first, and what an operator reads when it goes wrong.

TLS and users are tested with servers of their own, in test_endpoints.py.
"""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from obscura.errors import StoreUnavailable
from obscura.redis_client.handshake import open_transport
from obscura.redis_client.redis_url import read_url
from obscura.redis_client.transport import RedisTransport
from tests.support.redis import RedisServer
from tests.support.waiting import eventually

pytestmark = pytest.mark.libraries

Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def connect(url: str) -> RedisTransport:
    return await open_transport(read_url(url, "obscura:test"))


async def refuses(url: str, reason: str) -> None:
    with pytest.raises(StoreUnavailable) as refusal:
        await connect(url)
    assert str(refusal.value) == f"cannot connect to Redis: {reason}"


@asynccontextmanager
async def served(answer: Answer) -> AsyncIterator[str]:
    """The URL of somebody who answers so."""
    left = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await answer(reader, writer)
        while await reader.read(1_000):
            pass  # until the client leaves
        writer.close()
        left.set()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        await asyncio.wait_for(left.wait(), 2)


def says(text: bytes) -> Answer:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1_000)
        writer.write(text)

    return answer


async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(1_000)
    writer.close()


async def reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(1_000)
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (says(b"-ERR max number of clients reached\r\n"), "max number of clients reached"),
        (says(b"-WRONGPASS invalid username-password pair\r\n"), "invalid username-password pair"),
        (says(b"-NOAUTH Authentication required.\r\n"), "Authentication required."),
        (says(b"-NOPERM this user has no permissions\r\n"), "this user has no permissions"),
        (says(b"-LOADING Redis is loading the dataset in memory\r\n"), "Redis is loading the dataset in memory"),
        (says(b"-BUSY Redis is busy running a script.\r\n"), "BUSY Redis is busy running a script."),
        (says(b"HTTP/1.1 400 Bad Request\r\n\r\n"), 'Protocol error, got "H" as reply type byte'),
        (hang_up, "Connection closed by server."),
    ],
)
async def test_a_server_that_will_not_do_is_told_in_its_words(answer: Answer, reason: str) -> None:
    """Without the code, which is for programs; and the connection is closed."""
    async with served(answer) as url:
        await refuses(url, reason)


async def test_a_connection_that_is_reset_is_told_by_its_address() -> None:
    """And by what the system calls it."""
    async with served(reset) as url:
        await refuses(
            url, f"Error while reading from {url.removeprefix('redis://')} : (104, 'Connection reset by peer')"
        )


async def test_nobody_there_is_told_by_the_address(tmp_path: Path) -> None:
    """A port, a socket, a name: as the system puts it."""
    await refuses("redis://127.0.0.1:1", "Error 111 connecting to 127.0.0.1:1. Connect call failed ('127.0.0.1', 1).")
    path = tmp_path / "none.sock"
    await refuses(f"unix://{path}", f"Error 2 connecting to {path}. No such file or directory.")
    with pytest.raises(StoreUnavailable, match="idna"):
        await connect("redis://a..b:1")


async def test_a_missing_file_of_tls_is_told_like_a_missing_server() -> None:
    """It is looked for when the connection is made."""
    await refuses(
        "rediss://127.0.0.1:1/?ssl_ca_certs=/nowhere/ca.crt",
        "Error 2 connecting to 127.0.0.1:1. No such file or directory.",
    )


async def test_a_silent_server_is_given_up() -> None:
    """After a second, or what the URL says."""
    clock = asyncio.get_running_loop().time
    async with served(says(b"")) as url:
        started = clock()
        await refuses(url, "no answer in time")
        assert 0.9 < clock() - started < 2
    async with served(says(b"")) as url:
        await refuses(f"{url}?socket_timeout=0.05", f"Timeout reading from {url.removeprefix('redis://')}")


async def test_a_cancelled_handshake_leaves_no_connection() -> None:
    """As at a stop in the middle of a reconnect."""
    asked = asyncio.Event()

    async def stall(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read(1_000)
        asked.set()

    async with served(stall) as url:  # and it waits for the client to leave
        opening = asyncio.create_task(connect(url))
        await asked.wait()
        opening.cancel()
        await eventually(opening.cancelled)


async def test_redis_knows_a_connection_by_its_name(redis_server: RedisServer) -> None:
    """In the database of the URL; it speaks RESP 2, for which the replies are read."""
    transport = await connect(f"{redis_server.url}?db=3")
    with redis_server.client as client:
        (known,) = [row for row in client.client_list() if row["name"] == "obscura:test"]
    assert (known["db"], known.get("resp", "2")) == ("3", "2")
    transport.close()


async def test_a_connection_over_tcp_keeps_itself_alive() -> None:
    """One that only listens would not notice that the server's machine is gone."""
    async with served(says(b"+OK\r\n")) as url:
        transport = await connect(url)
        assert transport._transport is not None
        connected = transport._transport.get_extra_info("socket")
        assert connected.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert connected.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        transport.close()
