"""/v1/users, /v1/sessions and /v1/sessions/refresh."""

from aiohttp import web

from obscura.api.json.accounts import parse_credentials, parse_refresh_token, parse_registration, tokens_body
from obscura.api.json.errors import errors_in_words
from obscura.api.requests import require_user
from obscura.http.bodies import read_json_body
from obscura.http.route import AUTH_TIER, Route
from obscura.model.accounts import Tokens
from obscura.services.accounts import Accounts
from obscura.services.sessions import Sessions

ACCOUNTS = web.AppKey("accounts", Accounts)
SESSIONS = web.AppKey("sessions", Sessions)


async def register(request: web.Request) -> web.Response:
    """POST /v1/users: make an account and log it in."""
    credentials, keys = parse_registration(await read_json_body(request))
    with errors_in_words():
        tokens = await request.app[ACCOUNTS].register(credentials, keys)
    return _tokens_response(tokens, status=201)


async def login(request: web.Request) -> web.Response:
    """POST /v1/sessions."""
    credentials = parse_credentials(await read_json_body(request))
    return _tokens_response(await request.app[ACCOUNTS].login(credentials), status=200)


async def logout(request: web.Request) -> web.Response:
    """DELETE /v1/sessions: end the session of the refresh token in the body."""
    claims = require_user(request)
    refresh_token = parse_refresh_token(await read_json_body(request))
    await request.app[SESSIONS].logout(claims, refresh_token)
    return web.Response()


async def refresh(request: web.Request) -> web.Response:
    """POST /v1/sessions/refresh: exchange a refresh token for new tokens."""
    refresh_token = parse_refresh_token(await read_json_body(request))
    return _tokens_response(await request.app[SESSIONS].refresh(refresh_token), status=200)


def _tokens_response(tokens: Tokens, status: int) -> web.Response:
    return web.Response(status=status, body=tokens_body(tokens), content_type="application/json")


ROUTES = (
    Route("POST", "/v1/users", register, tier=AUTH_TIER),
    Route("POST", "/v1/sessions", login, tier=AUTH_TIER),
    Route("DELETE", "/v1/sessions", logout, failure_tier=AUTH_TIER),
    Route("POST", "/v1/sessions/refresh", refresh, failure_tier=AUTH_TIER),
)
