"""The keys of a device: real X25519 keys and XEdDSA signatures, as base64 for the API."""

import base64
import os
from dataclasses import dataclass, field
from typing import Any

import xeddsa

_KEY_TYPE = b"\x05"  # libsignal's DJB_TYPE: a Curve25519 key follows


def encode(raw: bytes) -> str:
    """Bytes as the API takes them."""
    return base64.b64encode(raw).decode()


def random_public_key() -> str:
    """A new X25519 public key in the API's form; nobody has its private half."""
    return encode(_random_public_key())


def one_time_keys(first_id: int, count: int) -> list[dict[str, Any]]:
    """One-time pre-keys with ids in a row."""
    return [{"keyId": key_id, "publicKey": random_public_key()} for key_id in range(first_id, first_id + count)]


@dataclass
class Device:
    """The private and public halves of one device's identity."""

    private: bytes = field(default_factory=lambda: os.urandom(32))
    registration_id: int = 4711

    @property
    def identity_key(self) -> str:
        return encode(_KEY_TYPE + xeddsa.priv_to_curve25519_pub(self.private))

    def signed_pre_key(self, key_id: int) -> dict[str, Any]:
        """A new signed pre-key as the API takes it."""
        public = _random_public_key()
        signature = xeddsa.ed25519_priv_sign(xeddsa.priv_force_sign(self.private, False), public)
        return {"keyId": key_id, "publicKey": encode(public), "signature": encode(signature)}

    def upload(self, signed_id: int, one_time: list[dict[str, Any]]) -> dict[str, Any]:
        """The body of a refill."""
        return {"signedPreKey": self.signed_pre_key(signed_id), "oneTimePreKeys": one_time}

    def takeover(self, signed_id: int, one_time: list[dict[str, Any]]) -> dict[str, Any]:
        """The body of POST /v1/keys that makes this the account's device, and the keys of a registration."""
        return self.upload(signed_id, one_time) | {
            "identityKey": self.identity_key,
            "registrationId": self.registration_id,
        }


def _random_public_key() -> bytes:
    return _KEY_TYPE + xeddsa.priv_to_curve25519_pub(os.urandom(32))
