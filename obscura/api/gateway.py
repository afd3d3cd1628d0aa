"""GET /v1/gateway."""

from urllib.parse import parse_qs

from aiohttp import web

from obscura.api.requests import AUTHENTICATE
from obscura.errors import Unauthorized
from obscura.gateway.admission import Caller
from obscura.gateway.formats.frames_0_3 import Frames03
from obscura.gateway.server import Gateway
from obscura.http.client_address import CLIENT_OF
from obscura.http.route import Route

GATEWAY = web.AppKey("gateway", Gateway)


async def open_gateway(request: web.Request) -> web.StreamResponse:
    """Check the token before the upgrade, then hand the socket over."""
    # Not by request.query, which is kept with the request: for as long as the socket is open.
    token = parse_qs(request.rel_url.raw_query_string, keep_blank_values=True).get("token", [""])[0]
    if not token:
        raise Unauthorized("Missing token")
    claims = request.app[AUTHENTICATE](token)
    client = request.app[CLIENT_OF](request)
    caller = Caller(claims.user_id, claims.user_id, claims.session_id, client)
    return await request.app[GATEWAY].serve(request, caller, Frames03)


ROUTES = (Route("GET", "/v1/gateway", open_gateway),)
