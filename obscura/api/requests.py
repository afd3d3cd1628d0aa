"""What handlers read of a request besides its body: whose it is, and ids in its path."""

import re
from collections.abc import Callable
from uuid import UUID

from aiohttp import hdrs, web

from obscura.crypto.tokens import AccessClaims
from obscura.errors import BadRequest, Unauthorized

AUTHENTICATE: web.AppKey[Callable[[str], AccessClaims]] = web.AppKey("authenticate")
"""Whose access token this is; raises Unauthorized."""

CANONICAL_UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
_UUID = re.compile(CANONICAL_UUID, re.IGNORECASE)


def require_user(request: web.Request) -> AccessClaims:
    """Return whose bearer token the request carries.

    Raises:
        Unauthorized: None, or none that holds.
    """
    return require_bearer(request, request.app[AUTHENTICATE])


def require_bearer(request: web.Request, authenticate: Callable[[str], AccessClaims]) -> AccessClaims:
    """As `require_user`, of a request that was not routed and so belongs to no application."""
    scheme, _, token = request.headers.get(hdrs.AUTHORIZATION, "").partition(" ")
    if scheme.lower() != "bearer" or not token:  # RFC 6750 section 2.1; schemes are case-insensitive
        raise Unauthorized("Missing bearer token")
    return authenticate(token.strip())


def uuid_in_path(request: web.Request, name: str) -> UUID:
    """Return a path parameter.

    Raises:
        BadRequest: It is no UUID.
    """
    text = request.match_info[name]
    if not _UUID.fullmatch(text):
        raise BadRequest(f"{name} is not a UUID")
    return UUID(text)
