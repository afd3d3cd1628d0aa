"""Signal's public keys and signatures as values, and the check of one by the other.

A key is an X25519 key that also signs: XEdDSA maps its u-coordinate to an Ed25519
public key and verifies there. All curve arithmetic is libxeddsa's; nothing in here
computes a coordinate.
"""

import binascii
from dataclasses import dataclass
from typing import Self

import xeddsa

KEY_TYPE_X25519 = 0x05
PUBLIC_KEY_BYTES = 33
SIGNATURE_BYTES = 64

_SIGN_BIT = 0x80

# Every u-coordinate whose X25519 shared secret is zero whatever the private key: the
# points whose order divides 8, on the curve and on its twist (RFC 7748, section 6.1).
# The last two are 0 and 1 again, as p and p + 1, which X25519 reduces.
_LOW_ORDER_U = tuple(
    bytes.fromhex(text)
    for text in (
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0100000000000000000000000000000000000000000000000000000000000000",
        "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
        "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    )
)

# X25519 ignores the top bit, so each is refused with and without it.
LOW_ORDER = frozenset(_LOW_ORDER_U) | {u[:31] + bytes([u[31] | 0x80]) for u in _LOW_ORDER_U}


@dataclass(frozen=True, slots=True)
class PublicKey:
    """An X25519 public key that is safe to agree on a secret with; there is no other kind.

    Two values are equal if their bytes are: two encodings of one point are two keys.

    Attributes:
        raw: 33 bytes, the type byte 0x05 and then the u-coordinate.
    """

    raw: bytes

    def __post_init__(self) -> None:
        if len(self.raw) != PUBLIC_KEY_BYTES:
            raise ValueError(f"A public key is {PUBLIC_KEY_BYTES} bytes, not {len(self.raw)}")
        if self.raw[0] != KEY_TYPE_X25519:
            raise ValueError("A public key starts with the type byte 0x05")
        # Only these: a key on the twist is as good as any, X25519 is made for both.
        if self.raw[1:] in LOW_ORDER:
            raise ValueError("The public key is a low-order point")

    @classmethod
    def from_bytes(cls, raw: bytes | bytearray | memoryview) -> Self:
        """Read the 33-byte form, from any buffer; the key keeps a copy of its own.

        Raises:
            ValueError: Wrong length, wrong type byte or a low-order point, in one sentence.
        """
        return cls(bytes(raw))

    @classmethod
    def from_base64(cls, text: str) -> Self:
        """Read the 33-byte form from canonical base64: standard alphabet, nothing else.

        Raises:
            ValueError: Not base64, or what `from_bytes` refuses, in one sentence.
        """
        return cls(_decode_base64(text))

    @property
    def base64(self) -> str:
        """The text `from_base64` reads: 44 characters."""
        return _encode_base64(self.raw)

    @property
    def u_coordinate(self) -> bytes:
        """The 32 bytes after the type byte."""
        return self.raw[1:]


@dataclass(frozen=True, slots=True)
class Signature:
    """64 bytes that claim to be an XEdDSA signature; `verify` tells whether they are.

    Attributes:
        raw: R, then s with the signer's sign bit on top; neither is checked here.
    """

    raw: bytes

    def __post_init__(self) -> None:
        if len(self.raw) != SIGNATURE_BYTES:
            raise ValueError(f"A signature is {SIGNATURE_BYTES} bytes, not {len(self.raw)}")

    @classmethod
    def from_bytes(cls, raw: bytes | bytearray | memoryview) -> Self:
        """Read the 64-byte form, from any buffer; the signature keeps a copy of its own.

        Raises:
            ValueError: Wrong length.
        """
        return cls(bytes(raw))

    @classmethod
    def from_base64(cls, text: str) -> Self:
        """Read the 64-byte form from canonical base64: standard alphabet, padded.

        Raises:
            ValueError: Not base64, or the wrong length.
        """
        return cls(_decode_base64(text))

    @property
    def base64(self) -> str:
        """The text `from_base64` reads: 88 characters."""
        return _encode_base64(self.raw)


def verify(identity: PublicKey, message_key: PublicKey, signature: Signature) -> bool:
    """Tell whether ``identity`` signed ``message_key``. Never raises.

    Clients differ in two ways, and every form of both is accepted:

    - The message is the key's 33-byte form or, without the type byte, its 32-byte form.
    - A u-coordinate stands for two Ed25519 keys, A and -A. Signal's libraries sign with
      either and name it in the top bit of the signature; the XEdDSA paper always uses
      the one with sign 0; some clients lose the bit. So the bit is a hint which to try
      first. Both keys have the same owner, hence taking either lets in no forgery.

    An identity on the curve's twist has no Ed25519 key, so nothing verifies by it. A
    non-canonical s and an R of small order are refused, as libsodium does.

    Costs one Ed25519 verification for what most clients send, four for a forgery.
    """
    top = signature.raw[-1]
    plain = signature.raw[:-1] + bytes([top & ~_SIGN_BIT])
    hint = bool(top & _SIGN_BIT)
    for sign in (hint, not hint):
        signer = xeddsa.curve25519_pub_to_ed25519_pub(identity.u_coordinate, sign)
        for message in (message_key.raw, message_key.u_coordinate):
            if xeddsa.ed25519_verify(plain, signer, message):
                return True
    return False


def _encode_base64(raw: bytes) -> str:
    return binascii.b2a_base64(raw, newline=False).decode("ascii")


def _decode_base64(text: str) -> bytes:
    try:
        raw = binascii.a2b_base64(text)
    except ValueError:
        raw = b""
    # The decoder skips foreign characters and spare bits; only canonical text comes back the same.
    if _encode_base64(raw) != text:
        raise ValueError("Not standard base64 with padding")
    return raw
