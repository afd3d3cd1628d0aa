"""GET /v1/gateway."""

from urllib.parse import parse_qs

from aiohttp import web

from obscura.errors import Unauthorized
from obscura.gateway.server import Gateway
from obscura.http.request_handling import AUTHENTICATE, CLIENT_OF

GATEWAY = web.AppKey("gateway", Gateway)


async def open_gateway(request: web.Request) -> web.StreamResponse:
    """Check the token before the upgrade, then hand the socket over."""
    # Not by request.query, which is kept with the request: for as long as the socket is open.
    token = parse_qs(request.rel_url.raw_query_string, keep_blank_values=True).get("token", [""])[0]
    if not token:
        raise Unauthorized("Missing token")
    claims = request.app[AUTHENTICATE](token)
    client = request.app[CLIENT_OF](request)
    return await request.app[GATEWAY].serve(request, claims.user_id, claims.session_id, client)
