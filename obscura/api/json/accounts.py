"""Bodies of /v1/users and /v1/sessions."""

import orjson

from obscura.api.json.fields import Fields, parse_object
from obscura.api.json.keys import device_keys
from obscura.model.accounts import Credentials, Tokens
from obscura.model.keys import DeviceKeys


def parse_registration(body: bytes) -> tuple[Credentials, DeviceKeys]:
    """POST /v1/users. Raises BadRequest."""
    fields = parse_object(body)
    return _credentials(fields), device_keys(fields)


def parse_credentials(body: bytes) -> Credentials:
    """POST /v1/sessions. Raises BadRequest."""
    return _credentials(parse_object(body))


def parse_refresh_token(body: bytes) -> str:
    """POST /v1/sessions/refresh and DELETE /v1/sessions. Raises BadRequest."""
    return parse_object(body).string("refreshToken")


def tokens_body(tokens: Tokens) -> bytes:
    """AuthResponse."""
    return orjson.dumps({"token": tokens.access, "refreshToken": tokens.refresh, "expiresAt": tokens.expires_at})


def _credentials(fields: Fields) -> Credentials:
    return Credentials(fields.string("username"), fields.string("password"))
