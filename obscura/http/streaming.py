"""Bodies that are too large to be handed over at once, and those that the client has already."""

import asyncio
from collections.abc import AsyncIterator

from aiohttp import hdrs, web

from obscura.http.bodies import BODY_IDLE_TIMEOUT_SECS


def is_not_modified(request: web.Request, etag: str) -> bool:
    """Whether If-None-Match names this ETag, given with its quotes, so that a 304 will do (RFC 9110 section 13.1.2).

    Not aiohttp's `if_none_match`: that stops at the first entry which is malformed.
    """
    known = [one.strip().removeprefix("W/") for one in request.headers.get(hdrs.IF_NONE_MATCH, "").split(",")]
    return etag in known or known == ["*"]


async def stream_response(request: web.Request, response: web.StreamResponse, chunks: AsyncIterator[bytes]) -> None:
    """Send the answer as its chunks come and the client takes them.

    A source that fails before its first chunk can still be answered with an error.

    Raises:
        ConnectionError: The client is gone, or took nothing for a while.
    """
    idle_timeout_secs = request.app[BODY_IDLE_TIMEOUT_SECS]
    chunk = await anext(chunks, b"")
    await response.prepare(request)
    try:
        while chunk:
            async with asyncio.timeout(idle_timeout_secs):
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
