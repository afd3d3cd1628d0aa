"""Bodies that are too large to be handed over at once, and those that the client has already."""

import asyncio
from collections.abc import AsyncIterator

from aiohttp import hdrs, web

from obscura.http.bodies import BODY_STALL_SECS


def client_has(request: web.Request, etag: str) -> bool:
    """Whether If-None-Match names this ETag, given with its quotes, so that a 304 will do (RFC 9110 section 13.1.2)."""
    known = [one.strip().removeprefix("W/") for one in request.headers.get(hdrs.IF_NONE_MATCH, "").split(",")]
    return etag in known or known == ["*"]


async def send_chunks(request: web.Request, response: web.StreamResponse, chunks: AsyncIterator[bytes]) -> None:
    """Send the answer as its chunks come and the client takes them.

    A source that fails before its first chunk can still be answered with an error.

    Raises:
        ConnectionError: The client is gone, or took nothing for a while.
    """
    stall_secs = request.app[BODY_STALL_SECS]
    chunk = await anext(chunks, b"")
    await response.prepare(request)
    try:
        while chunk:
            async with asyncio.timeout(stall_secs):
                await response.write(chunk)
            chunk = await anext(chunks, b"")
    except BaseException as error:
        # The headers promised more: only a broken connection tells the client that it got less.
        if request.transport is not None:
            request.transport.abort()
        if isinstance(error, TimeoutError | OSError):
            raise ConnectionResetError("the client is gone, or takes nothing") from error
        raise
    await response.write_eof()
