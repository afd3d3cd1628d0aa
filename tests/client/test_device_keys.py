"""Keys that a relay accepts."""

import pytest

from obscura.client.device_keys import Device, one_time_keys
from obscura.crypto.curve import PublicKey, Signature, verify

pytestmark = pytest.mark.libraries


def test_a_signed_pre_key_is_signed_by_the_identity() -> None:
    """As the relay checks it."""
    device = Device()
    signed = device.signed_pre_key(7)
    identity, public = PublicKey.from_base64(device.identity_key), PublicKey.from_base64(signed["publicKey"])
    assert signed["keyId"] == 7
    assert verify(identity, public, Signature.from_base64(signed["signature"]))


def test_one_time_keys_have_ids_in_a_row() -> None:
    """No two keys are the same."""
    keys = one_time_keys(5, 3)
    assert [key["keyId"] for key in keys] == [5, 6, 7]
    assert len({key["publicKey"] for key in keys}) == 3


def test_a_takeover_has_what_a_refill_has_and_an_identity() -> None:
    device, keys = Device(), one_time_keys(1, 1)
    refill, takeover = device.upload(1, keys), device.takeover(1, keys)
    assert refill.keys() == {"signedPreKey", "oneTimePreKeys"}
    assert takeover.keys() == refill.keys() | {"identityKey", "registrationId"}
    assert takeover["oneTimePreKeys"] == keys
