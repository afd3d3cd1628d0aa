"""Bodies of /v1/keys, and the keys in that of /v1/users."""

import orjson

from obscura.api.json.fields import Fields, parse_object
from obscura.crypto.curve import PublicKey, Signature
from obscura.errors import BadRequest
from obscura.model.keys import Bundle, DeviceKeys, KeyUpload, OneTimePreKey, ResentPreKey, SignedPreKey

MAX_KEY_ID = 2**31 - 1
MAX_REGISTRATION_ID = 2**31 - 1


def device_keys(fields: Fields) -> DeviceKeys:
    """The keys of a new device: none may be missing. Raises BadRequest."""
    return DeviceKeys(_identity_key(fields), _registration_id(fields), _signed_pre_key(fields), _one_time_keys(fields))


def parse_key_upload(body: bytes) -> KeyUpload:
    """POST /v1/keys. Raises BadRequest."""
    fields = parse_object(body)
    identity = _identity_key(fields) if fields.has("identityKey") else None
    registration_id = _registration_id(fields) if fields.has("registrationId") else None
    return KeyUpload(identity, registration_id, _new_or_resent_pre_key(fields), _one_time_keys(fields))


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


def _identity_key(fields: Fields) -> PublicKey:
    return fields.decoded("identityKey", PublicKey.from_base64)


def _registration_id(fields: Fields) -> int:
    return fields.integer("registrationId", MAX_REGISTRATION_ID)


def _signed_pre_key(fields: Fields) -> SignedPreKey:
    key = fields.object("signedPreKey")
    signature = key.decoded("signature", Signature.from_base64)
    return SignedPreKey(key.integer("keyId", MAX_KEY_ID), key.decoded("publicKey", PublicKey.from_base64), signature)


def _new_or_resent_pre_key(fields: Fields) -> SignedPreKey | ResentPreKey:
    key = fields.object("signedPreKey")
    if key.string("signature"):
        return _signed_pre_key(fields)
    # Published web clients do not keep the signature of the key that they send again with each refill.
    return ResentPreKey(key.integer("keyId", MAX_KEY_ID), key.decoded("publicKey", PublicKey.from_base64))


def _one_time_keys(fields: Fields) -> list[OneTimePreKey]:
    keys = [
        OneTimePreKey(key.integer("keyId", MAX_KEY_ID), key.decoded("publicKey", PublicKey.from_base64))
        for key in fields.objects("oneTimePreKeys")
    ]
    if len({key.key_id for key in keys}) != len(keys):
        raise BadRequest("oneTimePreKeys has a keyId twice")
    return keys
