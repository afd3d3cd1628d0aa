"""JSON bodies of the HTTP contract, to and from the model.

The only place that knows the contract's field names. Parsing answers one question: is
the body well formed? What it allows is decided in services/. Every error names the field.
"""

from typing import Any

import orjson

from obscura.crypto.curve import PublicKey, Signature
from obscura.errors import BadRequest
from obscura.model.accounts import Credentials, Tokens
from obscura.model.keys import Bundle, DeviceKeys, KeyUpload, OneTimePreKey, SignedPreKey

MAX_KEY_ID = 2**31 - 1
MAX_REGISTRATION_ID = 2**31 - 1


def parse_registration(body: bytes) -> tuple[Credentials, DeviceKeys]:
    """POST /v1/users. Raises BadRequest."""
    fields = _object(body)
    credentials = Credentials(_string(fields, "username"), _string(fields, "password"))
    keys = DeviceKeys(
        _public_key(fields, "identityKey"),
        _integer(fields, "registrationId", MAX_REGISTRATION_ID),
        _signed_pre_key(fields),
        _one_time_pre_keys(fields),
    )
    return credentials, keys


def parse_credentials(body: bytes) -> Credentials:
    """POST /v1/sessions. Raises BadRequest."""
    fields = _object(body)
    return Credentials(_string(fields, "username"), _string(fields, "password"))


def parse_refresh_token(body: bytes) -> str:
    """POST /v1/sessions/refresh and DELETE /v1/sessions. Raises BadRequest."""
    return _string(_object(body), "refreshToken")


def parse_key_upload(body: bytes) -> KeyUpload:
    """POST /v1/keys. Null stands for an absent optional field. Raises BadRequest."""
    fields = _object(body)
    identity = None if fields.get("identityKey") is None else _public_key(fields, "identityKey")
    registration_id = (
        None if fields.get("registrationId") is None else _integer(fields, "registrationId", MAX_REGISTRATION_ID)
    )
    return KeyUpload(identity, registration_id, _signed_pre_key(fields), _one_time_pre_keys(fields))


def tokens_body(tokens: Tokens) -> bytes:
    """AuthResponse."""
    return orjson.dumps({"token": tokens.access, "refreshToken": tokens.refresh, "expiresAt": tokens.expires_at})


def bundle_body(bundle: Bundle) -> bytes:
    """PreKeyBundle. ``oneTimePreKey`` is null when no key was left."""
    one_time = None
    if bundle.one_time is not None:
        one_time = {"keyId": bundle.one_time_id, "publicKey": bundle.one_time}
    return orjson.dumps(
        {
            "registrationId": bundle.registration_id,
            "identityKey": bundle.identity,
            "signedPreKey": {
                "keyId": bundle.signed_id,
                "publicKey": bundle.signed,
                "signature": bundle.signature,
            },
            "oneTimePreKey": one_time,
        }
    )


def error_body(message: str) -> bytes:
    """ErrorResponse."""
    return orjson.dumps({"error": message})


def _object(body: bytes) -> dict[str, Any]:
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise BadRequest("The body is not valid JSON") from error
    if not isinstance(value, dict):
        raise BadRequest("The body is not a JSON object")
    return value


def _signed_pre_key(fields: dict[str, Any]) -> SignedPreKey:
    value = _member(fields, "signedPreKey", "")
    if not isinstance(value, dict):
        raise BadRequest("signedPreKey is not an object")
    where = "signedPreKey."
    signature = _string(value, "signature", where)
    try:
        parsed = Signature.from_base64(signature)
    except ValueError as error:
        raise BadRequest(f"{where}signature: {error}") from error
    return SignedPreKey(_integer(value, "keyId", MAX_KEY_ID, where), _public_key(value, "publicKey", where), parsed)


def _one_time_pre_keys(fields: dict[str, Any]) -> list[OneTimePreKey]:
    values = _member(fields, "oneTimePreKeys", "")
    if not isinstance(values, list):
        raise BadRequest("oneTimePreKeys is not an array")
    keys = [_one_time_pre_key(value, f"oneTimePreKeys[{index}]") for index, value in enumerate(values)]
    if len({key.key_id for key in keys}) != len(keys):
        raise BadRequest("oneTimePreKeys has a keyId twice")
    return keys


def _one_time_pre_key(value: Any, where: str) -> OneTimePreKey:
    if not isinstance(value, dict):
        raise BadRequest(f"{where} is not an object")
    return OneTimePreKey(
        _integer(value, "keyId", MAX_KEY_ID, f"{where}."), _public_key(value, "publicKey", f"{where}.")
    )


def _member(fields: dict[str, Any], name: str, where: str) -> Any:
    value = fields.get(name)
    if value is None:
        raise BadRequest(f"{where}{name} is missing")
    return value


def _string(fields: dict[str, Any], name: str, where: str = "") -> str:
    value = _member(fields, name, where)
    if not isinstance(value, str):
        raise BadRequest(f"{where}{name} is not a string")
    return value


def _integer(fields: dict[str, Any], name: str, maximum: int, where: str = "") -> int:
    value = _member(fields, name, where)
    if type(value) is not int:  # a bool is an int to isinstance
        raise BadRequest(f"{where}{name} is not an integer")
    if not 0 <= value <= maximum:
        raise BadRequest(f"{where}{name} is not between 0 and {maximum}")
    return value


def _public_key(fields: dict[str, Any], name: str, where: str = "") -> PublicKey:
    text = _string(fields, name, where)
    try:
        return PublicKey.from_base64(text)
    except ValueError as error:
        raise BadRequest(f"{where}{name}: {error}") from error
