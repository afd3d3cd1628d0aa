"""POST /v1/messages the short way: no routing table, no middlewares, no header map built anew.

Half of all requests are this one, and it costs aiohttp twice as much to find the handler
and to write an empty 201 as it costs us to store the message. So what is ordinary in every
respect is served here, and anything else (`takes` says what) goes the usual way to
`post_message`, which gives the same answers. Both share whatever decides: limits, tokens,
the service, the errors.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from aiohttp import HttpVersion11, hdrs, web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.helpers import rfc822_formatted_time

from obscura.crypto.tokens import AccessClaims
from obscura.gateway.formats.encrypted_message import check_encrypted_message
from obscura.http.bodies import read_arrived
from obscura.http.request_handling import NOT_CACHED, REQUEST_ID_HEADER, SECURITY_HEADERS, add_headers, require_bearer
from obscura.observability.logs import request_id
from obscura.services.messages import Messages

# Only ids in their canonical form: they go into Redis's keys as they are.
_PATH = re.compile(r"/v1/messages/([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})")
_HEADERS = {"Cache-Control": NOT_CACHED, **SECURITY_HEADERS, REQUEST_ID_HEADER: ""}
_AFTER_DATE = "".join(f"\r\n{name}: {value}" for name, value in _HEADERS.items())


@dataclass(frozen=True, slots=True)
class SendFastPath:
    """Args:
    client_of: The client that a request is counted for.
    limit: Counts it, or refuses it.
    authenticate: Whose token this is.
    """

    client_of: Callable[[web.Request], str]
    limit: Callable[[str], None]
    authenticate: Callable[[str], AccessClaims]
    messages: Messages
    max_message_bytes: int
    route: str = "/v1/messages/{recipientId}"

    def takes(self, request: web.Request) -> bool:
        """Whether a request is ordinary in every respect: its body has come, and it asks for nothing special."""
        headers = request.headers
        return (
            request.method == hdrs.METH_POST
            and _PATH.fullmatch(request.raw_path) is not None
            and request.content.is_eof()
            and request.keep_alive
            and request.version == HttpVersion11
            and hdrs.EXPECT not in headers
            and hdrs.ORIGIN not in headers
            and hdrs.CONTENT_ENCODING not in headers
            and "Idempotency-Key" not in headers
        )

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """Queue one EncryptedMessage. 201 means stored, not delivered.

        Raises:
            RequestError: As `post_message`.
        """
        self.limit(self.client_of(request))
        claims = require_bearer(request, self.authenticate)
        body = read_arrived(request, self.max_message_bytes)
        check_encrypted_message(body)
        await self.messages.send(claims.user, request.raw_path[-36:], body, None)
        return _Created()


class _Created(web.StreamResponse):
    """An empty 201, written in one piece. aiohttp's own way is taken where the connection is to close behind it."""

    def __init__(self) -> None:
        super().__init__(status=201)

    async def prepare(self, request: Any) -> AbstractStreamWriter | None:
        if self.keep_alive is False:
            self.content_length = 0
            add_headers(self)
            return await super().prepare(request)
        self._transport = request.transport
        return None

    async def write_eof(self, data: bytes = b"") -> None:
        if self.keep_alive is False:
            await super().write_eof(data)
            return
        if self._transport is None or self._transport.is_closing():
            raise ConnectionResetError("the client is gone")
        head = f"HTTP/1.1 201 Created\r\nContent-Length: 0\r\nDate: {rfc822_formatted_time()}"
        self._transport.write(f"{head}{_AFTER_DATE}{request_id.get()}\r\n\r\n".encode())
        self._keep_alive = True
