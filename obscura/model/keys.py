"""Pre-keys and bundles, in the words of X3DH."""

from collections.abc import Sequence
from dataclasses import dataclass

from obscura.crypto.curve import PublicKey, Signature


@dataclass(frozen=True, slots=True)
class SignedPreKey:
    key_id: int
    public_key: PublicKey
    signature: Signature


@dataclass(frozen=True, slots=True)
class ResentPreKey:
    """A signed pre-key without its signature, as clients send the one again that is stored."""

    key_id: int
    public_key: PublicKey


@dataclass(frozen=True, slots=True)
class OneTimePreKey:
    key_id: int
    public_key: PublicKey


@dataclass(frozen=True, slots=True)
class DeviceKeys:
    """The public keys of one device, complete.

    `one_time` is in the order in which the keys are to be handed out; its key ids differ.
    """

    identity: PublicKey
    registration_id: int
    signed: SignedPreKey
    one_time: Sequence[OneTimePreKey]


@dataclass(frozen=True, slots=True)
class KeyUpload:
    """A refill, or a takeover if `identity` is given and not the stored one."""

    identity: PublicKey | None
    registration_id: int | None
    signed: SignedPreKey | ResentPreKey
    one_time: Sequence[OneTimePreKey]


@dataclass(frozen=True, slots=True)
class Bundle:
    """A pre-key bundle (X3DH section 3.2); `one_time` is None when no key was left.

    Keys are the base64 of the contract: what was stored goes out untouched.
    """

    identity: str
    registration_id: int
    signed_id: int
    signed: str
    signature: str
    one_time_id: int | None
    one_time: str | None
