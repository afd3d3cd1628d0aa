"""Bodies of requests: read within their limits, and only asked for when they are wanted."""

import asyncio
from collections.abc import AsyncIterator

from aiohttp import HttpVersion11, hdrs, web

from obscura.errors import PayloadTooLarge, RequestTimeout, UnsupportedMediaType
from obscura.http.aiohttp_internals import has_body_begun

BODY_IDLE_TIMEOUT_SECS = web.AppKey("body_idle_timeout_secs", float)
MAX_JSON_BYTES = 1_048_576

_MIN_BODY_BYTES_PER_SEC = 4096  # a slow mobile link; who is slower holds the request open on purpose
_BODY_CHUNK_BYTES = 65_536  # all that has arrived would be some hundred KiB of each upload
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


async def check_expectation(request: web.Request) -> None:
    """aiohttp's hook for ``Expect``: refuse what cannot be met. The 100 waits until the body is wanted.

    RFC 9110 section 10.1.1. So a request that is refused by its head alone is told so at
    once, and its client does not send a body for nothing.

    Raises:
        web.HTTPExpectationFailed: It is not 100-continue.
    """
    if request.version >= HttpVersion11 and not _expects_continue(request):
        raise web.HTTPExpectationFailed


def waits_for_continue(request: web.Request) -> bool:
    """Whether the client holds its body back until it is asked for; one that sends already does not."""
    return _expects_continue(request) and not has_body_begun(request) and not request.content.is_eof()


async def read_json_body(request: web.Request) -> bytes:
    """The body of a route that takes JSON, not parsed yet.

    Raises:
        UnsupportedMediaType: It is declared to be something else.
        PayloadTooLarge: Over 1 MiB.
    """
    if "Content-Type" in request.headers and not _is_json(request.content_type):
        raise UnsupportedMediaType("The body is not application/json")
    return await read_body(request, MAX_JSON_BYTES)


async def read_body(request: web.Request, max_bytes: int) -> bytes:
    """The body, refused by its declared size before it is read where that is possible.

    Raises:
        UnsupportedMediaType: It is compressed.
        PayloadTooLarge: Over ``max_bytes``.
        RequestTimeout: Nothing more of it came for a while.
    """
    refuse_compressed_body(request)
    if (request.content_length or 0) > max_bytes:
        raise _too_large(max_bytes)
    if request.content.is_eof():  # most bodies have come with their headers
        return read_buffered(request, max_bytes)
    return await _read_arriving(request, max_bytes)


def read_buffered(request: web.Request, max_bytes: int) -> bytes:
    """A body that has come whole, and is not compressed.

    Raises:
        PayloadTooLarge: Over ``max_bytes``.
    """
    body = request.content.read_nowait()
    if len(body) > max_bytes:
        raise _too_large(max_bytes)
    return body


def refuse_compressed_body(request: web.Request) -> None:
    """Refuse a body in any content coding: nothing here would undo it.

    Raises:
        UnsupportedMediaType: The body is compressed.
    """
    if any(coding.lower() != "identity" for coding in request.headers.getall("Content-Encoding", ())):
        raise UnsupportedMediaType("A compressed body is not accepted")


async def body_chunks(request: web.Request) -> AsyncIterator[bytes]:
    """The body as it arrives. The time between two chunks is the caller's and does not count.

    Raises:
        RequestTimeout: Nothing more of it came for a while, or too little over all.
        ConnectionError: The client is gone.
    """
    now, idle_timeout_secs = asyncio.get_running_loop().time, request.app[BODY_IDLE_TIMEOUT_SECS]
    timeout_secs = idle_timeout_secs  # for the whole; each byte adds some, and each wait takes some away
    try:
        if waits_for_continue(request):
            _ask_for_body(request)
        while True:
            began = now()
            async with asyncio.timeout(min(idle_timeout_secs, timeout_secs)):
                chunk = await request.content.read(_BODY_CHUNK_BYTES)
            if not chunk:
                return
            timeout_secs += len(chunk) / _MIN_BODY_BYTES_PER_SEC - (now() - began)
            yield chunk
    except TimeoutError as error:
        raise RequestTimeout("The body stopped coming") from error
    except OSError as error:  # of the client's connection, which may end in more ways than a reset
        raise ConnectionResetError("the client is gone") from error


async def _read_arriving(request: web.Request, max_bytes: int) -> bytes:
    body = bytearray()
    async for chunk in body_chunks(request):
        body += chunk
        if len(body) > max_bytes:
            raise _too_large(max_bytes)
    return bytes(body)


def _ask_for_body(request: web.Request) -> None:
    """Send the 100 (RFC 9110 section 10.1.1), past aiohttp's writer, which would count it as a part of the answer."""
    if request.transport is None or request.transport.is_closing():
        raise ConnectionResetError("the client is gone")
    request.transport.write(_CONTINUE)


def _expects_continue(request: web.Request) -> bool:
    return request.version >= HttpVersion11 and request.headers.get(hdrs.EXPECT, "").lower() == "100-continue"


def _too_large(max_bytes: int) -> PayloadTooLarge:
    return PayloadTooLarge(f"The body is over {max_bytes} bytes")


def _is_json(content_type: str) -> bool:
    return content_type == "application/json" or content_type.endswith("+json")
