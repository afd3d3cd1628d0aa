"""POST /v1/messages/{recipientId}."""

from aiohttp import web

from obscura.api.json.errors import errors_in_words
from obscura.api.requests import require_user, uuid_in_path
from obscura.gateway.formats.encrypted_message import check_encrypted_message
from obscura.http.bodies import read_body
from obscura.http.route import Route
from obscura.services.messages import Messages

MESSAGES = web.AppKey("messages", Messages)
MAX_MESSAGE_BYTES = web.AppKey("max_message_bytes", int)
IDEMPOTENCY_KEY_HEADER = "Idempotency-Key"


async def post_message(request: web.Request) -> web.Response:
    """Queue one EncryptedMessage. 201 means stored, not delivered."""
    claims = require_user(request)
    recipient_id = uuid_in_path(request, "recipientId")
    body = await read_body(request, request.app[MAX_MESSAGE_BYTES])
    check_encrypted_message(body)
    with errors_in_words():
        idempotency_key = request.headers.get(IDEMPOTENCY_KEY_HEADER)
        await request.app[MESSAGES].send(claims.user, str(recipient_id), body, idempotency_key)
    return web.Response(status=201)


POST_MESSAGE = Route("POST", "/v1/messages/{recipientId}", post_message, request_headers=(IDEMPOTENCY_KEY_HEADER,))
"""Most requests of it go `fast_path`."""

ROUTES = (POST_MESSAGE,)
