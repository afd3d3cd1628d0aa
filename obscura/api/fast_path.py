"""POST /v1/messages the short way: no routing table, no middlewares, no header map built anew.

Half of all requests are this one, and it costs aiohttp twice as much to find the handler
and to write an empty 201 as it costs us to store the message. So what is ordinary in every
respect is served here, and anything else (`accepts` says what) goes the usual way to
`post_message`, which gives the same answers. Both share whatever decides: limits, tokens,
the service, the errors.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass

from aiohttp import HttpVersion11, hdrs, web

from obscura.api.messages import IDEMPOTENCY_KEY_HEADER, POST_MESSAGE
from obscura.api.requests import CANONICAL_UUID, require_bearer
from obscura.crypto.tokens import AccessClaims
from obscura.gateway.formats.encrypted_message import check_encrypted_message
from obscura.http.aiohttp_internals import PrebuiltResponse
from obscura.http.bodies import read_buffered
from obscura.http.responses import NOT_CACHED, REQUEST_ID_HEADER, SECURITY_HEADERS, http_date
from obscura.observability.logs import request_id
from obscura.services.messages import Messages

# Only ids in their canonical form: they go into Redis's keys as they are.
_PATH = re.compile(POST_MESSAGE.path.replace("{recipientId}", CANONICAL_UUID))
_UUID_LENGTH = 36
_HEADERS = {"Cache-Control": NOT_CACHED, **SECURITY_HEADERS, REQUEST_ID_HEADER: ""}
_BEFORE_DATE = "HTTP/1.1 201 Created\r\nContent-Length: 0\r\nDate: "
_AFTER_DATE = "".join(f"\r\n{name}: {value}" for name, value in _HEADERS.items())


@dataclass(frozen=True, slots=True)
class SendFastPath:
    """Serves the ordinary requests of `POST_MESSAGE`.

    Args:
        client_of: The client that a request is counted for.
        limit: Counts it in the tier of the route, or refuses it.
        authenticate: Whose token this is.
    """

    client_of: Callable[[web.Request], str]
    limit: Callable[[str], None]
    authenticate: Callable[[str], AccessClaims]
    messages: Messages
    max_message_bytes: int
    route: str = POST_MESSAGE.path

    def accepts(self, request: web.Request) -> bool:
        """Whether a request is ordinary in every respect: its body has come, and it asks for nothing special."""
        headers = request.headers
        return (
            request.method == POST_MESSAGE.method
            and _PATH.fullmatch(request.raw_path) is not None
            and request.content.is_eof()
            and request.keep_alive
            and request.version == HttpVersion11
            and hdrs.EXPECT not in headers
            and hdrs.ORIGIN not in headers
            and hdrs.CONTENT_ENCODING not in headers
            and IDEMPOTENCY_KEY_HEADER not in headers
        )

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """Queue one EncryptedMessage. 201 means stored, not delivered.

        Raises:
            RequestError: As `post_message`.
        """
        self.limit(self.client_of(request))
        claims = require_bearer(request, self.authenticate)
        body = read_buffered(request, self.max_message_bytes)
        check_encrypted_message(body)
        await self.messages.send(claims.user, request.raw_path[-_UUID_LENGTH:], body, None)
        return PrebuiltResponse(201, f"{_BEFORE_DATE}{http_date()}{_AFTER_DATE}{request_id.get()}\r\n\r\n")
