"""Opening a connection: the socket, TLS, and the commands with which Redis learns who is there."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import hiredis

from obscura.errors import StoreUnavailable
from obscura.redis_client.redis_url import CONNECT_TIMEOUT_SECS, ConnectOptions
from obscura.redis_client.transport import RedisTransport

# What refuses the commands of a handshake. The word says to a program what the sentence behind it says to a reader.
_ERROR_CODES = ("ERR", "WRONGPASS", "NOAUTH", "NOPERM", "LOADING", "READONLY", "MASTERDOWN", "CLUSTERDOWN", "OOM")


async def open_transport(options: ConnectOptions) -> RedisTransport:
    """Connect, authenticate and choose the database. Cancelled, it closes what it opened.

    Raises:
        StoreUnavailable: Nobody there, or not willing.
    """
    transport = RedisTransport(options.where)
    async with closed_on_failure(transport):
        await _connect(transport, options)
        for command in options.handshake:
            async with _deadline(options.reply_timeout_secs, f"Timeout reading from {options.where}"):
                await transport.ask(*command)
    return transport


@asynccontextmanager
async def closed_on_failure(transport: RedisTransport, secs: float = CONNECT_TIMEOUT_SECS) -> AsyncIterator[None]:
    """Give a conversation on a connection a moment, and close the connection unless all of it went well.

    Raises:
        StoreUnavailable: Redis refused, did not answer in time or hung up.
    """
    try:
        async with asyncio.timeout(secs):
            yield
    except (hiredis.HiredisError, OSError) as error:
        transport.close()
        raise StoreUnavailable(f"cannot connect to Redis: {_reason(error)}") from error
    except BaseException:
        transport.close()
        raise


async def _connect(transport: RedisTransport, options: ConnectOptions) -> None:
    loop = asyncio.get_running_loop()
    try:
        async with _deadline(options.connect_timeout_secs, "Timeout connecting to server"):
            if options.path:
                await loop.create_unix_connection(lambda: transport, options.path)
                return
            tls = options.make_tls() if options.make_tls is not None else None
            stream, _ = await loop.create_connection(lambda: transport, options.host, options.port, ssl=tls)
            _keep_alive(stream, options)
    except TimeoutError:
        raise
    except OSError as error:
        raise ConnectionError(_sentence(error, options.where)) from error
    except Exception as error:
        raise ConnectionError(error) from error  # such as a host name that cannot be one


def _keep_alive(stream: asyncio.BaseTransport, options: ConnectOptions) -> None:
    if options.keep_alive is not None:
        connected = stream.get_extra_info("socket")
        connected.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in options.keep_alive.items():
            connected.setsockopt(socket.IPPROTO_TCP, option, value)


@asynccontextmanager
async def _deadline(secs: float, sentence: str) -> AsyncIterator[None]:
    try:
        async with asyncio.timeout(secs):
            yield
    except TimeoutError:
        raise TimeoutError(sentence) from None


def _sentence(error: OSError, where: str) -> str:
    if not error.args:
        return f"Error connecting to {where}."
    explanation = f" {error.args[1]}." if len(error.args) > 1 else ""
    return f"Error {error.args[0]} connecting to {where}.{explanation}"


def _reason(error: Exception) -> str:
    code, _, sentence = str(error).partition(" ")
    text = sentence if isinstance(error, hiredis.ReplyError) and code in _ERROR_CODES else str(error)
    return text or "no answer in time"
