"""A device's keys as Redis has them: fields of its account's hash, and the queue of one-time pre-keys.

A new field of a bundle is written and read here; the scripts take fields as they come.
"""

from collections.abc import Sequence
from hashlib import sha256

import orjson

from obscura.model.keys import Bundle, DeviceKeys, OneTimePreKey, SignedPreKey

BUNDLE_FIELDS = ("identity_key", "registration_id", "signed_pre_key_id", "signed_pre_key", "signed_pre_key_signature")
"""Of the account's hash. The first is that of every account, whatever version wrote it."""


ONE_TIME_DIGEST_FIELD = "one_time_keys_digest"
"""Of the account's hash: which one-time pre-keys came last, so that a repeat of their upload is known for one."""


def device_fields(keys: DeviceKeys) -> list[str]:
    """The fields that hold a device's keys, all but the one-time ones: field, value, field, value, ..."""
    return [
        *("identity_key", keys.identity.base64),
        *("registration_id", str(keys.registration_id)),
        *signed_pre_key_fields(keys.signed),
    ]


def signed_pre_key_fields(signed: SignedPreKey) -> list[str]:
    """The fields that a refill replaces: field, value, field, value, ..."""
    return [
        *("signed_pre_key_id", str(signed.key_id)),
        *("signed_pre_key", signed.public_key.base64),
        *("signed_pre_key_signature", signed.signature.base64),
    ]


def one_time_pairs(keys: Sequence[OneTimePreKey]) -> bytes:
    """One-time pre-keys as the scripts take them: a JSON list id, key, id, key, ..."""
    return orjson.dumps([text for key in keys for text in (str(key.key_id), key.public_key.base64)])


def one_time_digest(keys: Sequence[OneTimePreKey]) -> str:
    """The SHA-256 of an upload's one-time pre-keys, ids and order included."""
    return sha256(one_time_pairs(keys)).hexdigest()


def parse_bundle(device: Sequence[bytes], one_time: Sequence[bytes]) -> Bundle:
    """What lua/keys_take.lua gave.

    Args:
        device: The values of `BUNDLE_FIELDS`.
        one_time: Key id and public key; empty when no key was left.
    """
    identity, registration_id, signed_id, signed, signature = device
    return Bundle(
        identity=identity.decode(),
        registration_id=int(registration_id),
        signed_id=int(signed_id),
        signed=signed.decode(),
        signature=signature.decode(),
        one_time_id=int(one_time[0]) if one_time else None,
        one_time=one_time[1].decode() if one_time else None,
    )
