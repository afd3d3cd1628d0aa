"""A device's keys on their way into Redis and out of it."""

import orjson

from obscura.crypto.curve import PublicKey, Signature
from obscura.model.keys import Bundle, DeviceKeys, OneTimePreKey, SignedPreKey
from obscura.store.device_keys import (
    BUNDLE_FIELDS,
    device_fields,
    one_time_pairs,
    parse_bundle,
    signed_pre_key_fields,
)


def key(number: int) -> PublicKey:
    """A public key like no other."""
    return PublicKey(bytes([5, number, *bytes(30), 1]))


SIGNED = SignedPreKey(7, key(2), Signature(bytes(64)))
DEVICE = DeviceKeys(key(1), 4711, SIGNED, [OneTimePreKey(9, key(3)), OneTimePreKey(8, key(4))])


def test_what_is_written_are_the_fields_that_are_read() -> None:
    """All fields of a bundle, each once, and no other."""
    assert sorted(device_fields(DEVICE)[::2]) == sorted(BUNDLE_FIELDS)


def test_a_bundle_comes_out_as_the_keys_went_in() -> None:
    """Field by field, whatever the order in which they were written."""
    fields = device_fields(DEVICE)
    stored = dict(zip(fields[::2], fields[1::2], strict=True))
    device = [stored[name].encode() for name in BUNDLE_FIELDS]
    expected = Bundle(key(1).base64, 4711, 7, key(2).base64, SIGNED.signature.base64, 9, key(3).base64)
    assert parse_bundle(device, [b"9", key(3).base64.encode()]) == expected
    assert parse_bundle(device, []) == Bundle(*[getattr(expected, name) for name in Bundle.__slots__[:5]], None, None)


def test_a_refill_writes_what_a_new_device_would() -> None:
    """Of the fields of a device those of the signed pre-key."""
    fields = device_fields(DEVICE)
    pairs = set(zip(fields[::2], fields[1::2], strict=True))
    refill = signed_pre_key_fields(SIGNED)
    assert set(zip(refill[::2], refill[1::2], strict=True)) < pairs


def test_one_time_keys_keep_their_order() -> None:
    """They are handed out in the order in which they came."""
    assert orjson.loads(one_time_pairs(DEVICE.one_time)) == ["9", key(3).base64, "8", key(4).base64]
