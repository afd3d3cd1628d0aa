"""What a Signal application does with its messages: X3DH and the Double Ratchet, as their Python packages have them."""

import base64
import itertools
import struct
from dataclasses import dataclass
from typing import Any

import doubleratchet
import x3dh
from doubleratchet.recommended import (
    HashFunction,
    aead_aes_hmac,
    diffie_hellman_ratchet_curve25519,
    kdf_hkdf,
    kdf_separate_hmacs,
)
from x3dh import IdentityKeyFormat

from obscura.client.device_keys import encode
from obscura.v1.obscura_pb2 import EncryptedMessage

X3DH_HEADER = struct.Struct("32s32s32s32s")  # identity, ephemeral, signed and one-time pre-key; the last may be zeros
NO_KEY = bytes(32)
RATCHET_HEADER = struct.Struct("!32sII")


def to_api(key: bytes) -> str:
    return encode(b"\x05" + key)


def from_api(text: str) -> bytes:
    return base64.b64decode(text)[1:]


class Device(x3dh.BaseState):
    """The secret half of what a device publishes, and the ids under which the relay knows it."""

    def __init__(self) -> None:
        super().__init__()
        self._key_ids, self._signed_ids = itertools.count(1), itertools.count(1)

    @staticmethod
    def _encode_public_key(key_format: IdentityKeyFormat, pub: bytes) -> bytes:
        return b"\x05" + pub

    @classmethod
    def new(cls) -> "Device":
        return cls.create(IdentityKeyFormat.CURVE_25519, x3dh.HashFunction.SHA_256, b"obscura test X3DH")

    def registration_keys(self, pre_keys: int) -> dict[str, Any]:
        """All its public keys, as a registration and a takeover take them."""
        return self.refill(pre_keys) | {"identityKey": to_api(self.bundle.identity_key), "registrationId": 1}

    def refill(self, count: int) -> dict[str, Any]:
        """So many new one-time pre-keys and a new signed one; the signed one before may still be in use."""
        before = self.bundle.pre_keys
        self.generate_pre_keys(count)
        self.rotate_signed_pre_key()
        keys = self.bundle
        return {
            "signedPreKey": {
                "keyId": next(self._signed_ids),
                "publicKey": to_api(keys.signed_pre_key),
                "signature": encode(keys.signed_pre_key_sig),
            },
            "oneTimePreKeys": [
                {"keyId": next(self._key_ids), "publicKey": to_api(key)} for key in keys.pre_keys - before
            ],
        }


def parse_bundle(body: dict[str, Any]) -> x3dh.Bundle:
    """The pre-key bundle of GET /v1/keys, as X3DH takes it."""
    one_time = body["oneTimePreKey"]
    return x3dh.Bundle(
        from_api(body["identityKey"]),
        from_api(body["signedPreKey"]["publicKey"]),
        base64.b64decode(body["signedPreKey"]["signature"]),
        frozenset([from_api(one_time["publicKey"])] if one_time else []),
    )


class RootChain(kdf_hkdf.KDF):
    @staticmethod
    def _get_hash_function() -> HashFunction:
        return HashFunction.SHA_256

    @staticmethod
    def _get_info() -> bytes:
        return b"obscura test root chain"


class MessageChain(kdf_separate_hmacs.KDF):
    @staticmethod
    def _get_hash_function() -> HashFunction:
        return HashFunction.SHA_256


class Aead(aead_aes_hmac.AEAD):
    @staticmethod
    def _get_hash_function() -> HashFunction:
        return HashFunction.SHA_256

    @staticmethod
    def _get_info() -> bytes:
        return b"obscura test AEAD"


class Ratchet(doubleratchet.DoubleRatchet):
    @staticmethod
    def _build_associated_data(associated_data: bytes, header: doubleratchet.Header) -> bytes:
        return associated_data + RATCHET_HEADER.pack(*header)


RATCHET: dict[str, Any] = {
    "diffie_hellman_ratchet_class": diffie_hellman_ratchet_curve25519.DiffieHellmanRatchet,
    "root_chain_kdf": RootChain,
    "message_chain_kdf": MessageChain,
    "message_chain_constant": b"\x01\x02",
    "dos_protection_threshold": 100,
    "max_num_skipped_message_keys": 1000,
    "aead": Aead,
}


def pack(encrypted: doubleratchet.EncryptedMessage) -> bytes:
    return RATCHET_HEADER.pack(*encrypted.header) + encrypted.ciphertext


def unpack(content: bytes) -> doubleratchet.EncryptedMessage:
    header = doubleratchet.Header(*RATCHET_HEADER.unpack_from(content))
    return doubleratchet.EncryptedMessage(header, content[RATCHET_HEADER.size :])


@dataclass
class Session:
    """What two people share after one has greeted the other."""

    ratchet: Ratchet
    associated_data: bytes

    @classmethod
    async def initiate(cls, device: Device, bundle: x3dh.Bundle, text: str) -> tuple["Session", EncryptedMessage]:
        """Agree on a key with the owner of a bundle; gives the pre-key message to send."""
        secret, associated_data, header = await device.get_shared_secret_active(bundle, require_pre_key=False)
        ratchet, encrypted = await Ratchet.encrypt_initial_message(
            shared_secret=secret,
            recipient_ratchet_pub=bundle.signed_pre_key,
            message=text.encode(),
            associated_data=associated_data,
            **RATCHET,
        )
        agreement = (header.identity_key, header.ephemeral_key, header.signed_pre_key, header.pre_key or NO_KEY)
        content = X3DH_HEADER.pack(*agreement) + pack(encrypted)
        message = EncryptedMessage(type=EncryptedMessage.TYPE_PREKEY_MESSAGE, content=content)
        return cls(ratchet, associated_data), message

    @classmethod
    async def be_greeted(cls, device: Device, content: bytes) -> tuple["Session", str]:
        """Complete the agreement from the other side; uses up the one-time pre-key it was made with."""
        identity, ephemeral, signed, one_time = X3DH_HEADER.unpack_from(content)
        header = x3dh.Header(identity, ephemeral, signed, None if one_time == NO_KEY else one_time)
        secret, associated_data, pair = await device.get_shared_secret_passive(header, require_pre_key=False)
        ratchet, text = await Ratchet.decrypt_initial_message(
            shared_secret=secret,
            own_ratchet_priv=pair.priv,
            message=unpack(content[X3DH_HEADER.size :]),
            associated_data=associated_data,
            **RATCHET,
        )
        if header.pre_key is not None:
            assert device.delete_pre_key(header.pre_key)
        return cls(ratchet, associated_data), text.decode()

    async def encrypt(self, text: str) -> EncryptedMessage:
        encrypted = await self.ratchet.encrypt_message(text.encode(), self.associated_data)
        return EncryptedMessage(type=EncryptedMessage.TYPE_ENCRYPTED_MESSAGE, content=pack(encrypted))

    async def decrypt(self, content: bytes) -> str:
        return (await self.ratchet.decrypt_message(unpack(content), self.associated_data)).decode()
