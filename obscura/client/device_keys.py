"""The public keys of one device. All users of a bench are that device: the server cannot tell, nor need it."""

import base64
import os
from typing import Any

import xeddsa

_REGISTRATION_ID = 4711


def device_keys(one_time: int) -> dict[str, Any]:
    """Identity, signed pre-key and one-time pre-keys, as ``POST /v1/users`` takes them."""
    private = os.urandom(32)
    signed = _new_public_key()
    signature = xeddsa.ed25519_priv_sign(xeddsa.priv_force_sign(private, False), signed)
    return {
        "identityKey": _encode(b"\x05" + xeddsa.priv_to_curve25519_pub(private)),
        "registrationId": _REGISTRATION_ID,
        "signedPreKey": {"keyId": 1, "publicKey": _encode(signed), "signature": _encode(signature)},
        "oneTimePreKeys": [
            {"keyId": number, "publicKey": _encode(_new_public_key())} for number in range(1, one_time + 1)
        ],
    }


def _new_public_key() -> bytes:
    return b"\x05" + xeddsa.priv_to_curve25519_pub(os.urandom(32))


def _encode(raw: bytes) -> str:
    return base64.b64encode(raw).decode()
