"""GET /v1/gateway."""

from aiohttp import web

from obscura.api.middleware import AUTHENTICATE
from obscura.errors import Unauthorized
from obscura.gateway.server import Gateway

GATEWAY = web.AppKey("gateway", Gateway)


async def open_gateway(request: web.Request) -> web.StreamResponse:
    """Check the token before the upgrade, then hand the socket over."""
    token = request.query.get("token")
    if not token:
        raise Unauthorized("Missing token")
    claims = request.app[AUTHENTICATE](token)
    return await request.app[GATEWAY].serve(request, claims.user_id, claims.session_id)
