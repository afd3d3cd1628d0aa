"""/v1/keys."""

from aiohttp import web

from obscura.api.json.errors import errors_in_words
from obscura.api.json.keys import bundle_body, parse_key_upload
from obscura.api.requests import require_user, uuid_in_path
from obscura.errors import Unauthorized
from obscura.http.bodies import read_json_body
from obscura.http.client_address import CLIENT_OF
from obscura.http.route import Route
from obscura.services.keys import Keys

KEYS = web.AppKey("keys", Keys)
BUNDLE_REQUIRES_LOGIN = web.AppKey("bundle_requires_login", bool)


async def post_keys(request: web.Request) -> web.Response:
    """POST /v1/keys: a refill, or a takeover if the identity key is a new one."""
    claims = require_user(request)
    upload = parse_key_upload(await read_json_body(request))
    with errors_in_words():
        await request.app[KEYS].upload(claims, upload)
    return web.Response()


async def get_bundle(request: web.Request) -> web.Response:
    """GET /v1/keys/{userId}: a pre-key bundle; uses up one one-time pre-key."""
    is_logged_in = _is_logged_in(request)
    user_id = uuid_in_path(request, "userId")
    bundle = await request.app[KEYS].take_bundle(user_id, request.app[CLIENT_OF](request), is_logged_in)
    return web.Response(body=bundle_body(bundle), content_type="application/json")


def _is_logged_in(request: web.Request) -> bool:
    """Whether the caller shows a token that holds. The contract asks for none, so a bad one is as good as none.

    Raises:
        Unauthorized: This server gives bundles to nobody else.
    """
    try:
        require_user(request)
    except Unauthorized:
        if request.app[BUNDLE_REQUIRES_LOGIN]:
            raise
        return False
    return True


ROUTES = (
    Route("POST", "/v1/keys", post_keys),
    # No HEAD: a bundle uses up a key, so asking about one would cost one.
    Route("GET", "/v1/keys/{userId}", get_bundle),
)
