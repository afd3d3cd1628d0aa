"""JSON bodies to values and back."""

import json
from typing import Any

import orjson
import pytest

from obscura.api.json.accounts import parse_credentials, parse_refresh_token, parse_registration, tokens_body
from obscura.api.json.keys import bundle_body, parse_key_upload
from obscura.client.device_keys import Device, one_time_keys
from obscura.crypto.curve import PublicKey, Signature
from obscura.errors import BadRequest
from obscura.http.responses import error_response
from obscura.model.accounts import Credentials, Tokens
from obscura.model.keys import Bundle, OneTimePreKey, SignedPreKey

pytestmark = pytest.mark.libraries

DEVICE = Device()
SIGNED = DEVICE.signed_pre_key(7)
ONE_TIME = one_time_keys(3, 2)
REGISTRATION: dict[str, Any] = {
    "username": "Zoë",
    "password": "correct horse battery staple",
    "identityKey": DEVICE.identity_key,
    "registrationId": 2**31 - 1,
    "signedPreKey": SIGNED,
    "oneTimePreKeys": ONE_TIME,
}
UPLOAD = {name: REGISTRATION[name] for name in ("identityKey", "registrationId", "signedPreKey", "oneTimePreKeys")}


def encoded(body: object) -> bytes:
    return json.dumps(body).encode()


def test_a_registration_is_read_whole() -> None:
    """Every field of the contract arrives as the value it stands for."""
    credentials, keys = parse_registration(encoded(REGISTRATION))
    assert credentials == Credentials("Zoë", "correct horse battery staple")
    assert keys.identity == PublicKey.from_base64(DEVICE.identity_key)
    assert keys.registration_id == 2**31 - 1
    assert keys.signed == SignedPreKey(
        7, PublicKey.from_base64(SIGNED["publicKey"]), Signature.from_base64(SIGNED["signature"])
    )
    assert keys.one_time == [OneTimePreKey(key["keyId"], PublicKey.from_base64(key["publicKey"])) for key in ONE_TIME]


def test_one_time_keys_keep_their_order() -> None:
    """They are handed out in the order of the request, whatever their ids."""
    keys = one_time_keys(10, 3)[::-1] + one_time_keys(0, 2)
    upload = parse_key_upload(encoded(UPLOAD | {"oneTimePreKeys": keys}))
    assert [key.key_id for key in upload.one_time] == [12, 11, 10, 0, 1]


@pytest.mark.parametrize("name", ["identityKey", "registrationId"])
def test_null_stands_for_an_absent_optional_field(name: str) -> None:
    """Clients whose encoder writes null for what is not there are understood."""
    assert parse_key_upload(encoded(UPLOAD | {name: None})) == parse_key_upload(
        encoded({key: value for key, value in UPLOAD.items() if key != name})
    )


def test_an_upload_without_one_time_keys_is_fine() -> None:
    """A signed pre-key alone may be renewed."""
    assert parse_key_upload(encoded(UPLOAD | {"oneTimePreKeys": []})).one_time == []


def test_unknown_fields_are_passed_over() -> None:
    """A newer client may say more."""
    extended = REGISTRATION | {"deviceName": "x", "signedPreKey": SIGNED | {"kind": 1}}
    assert parse_registration(encoded(extended)) == parse_registration(encoded(REGISTRATION))


def test_ids_reach_from_zero_to_the_largest_signed_32_bit_number() -> None:
    """Both ends of the range are inside it."""
    for key_id in (0, 2**31 - 1):
        signed = SIGNED | {"keyId": key_id}
        body = encoded(UPLOAD | {"signedPreKey": signed, "registrationId": key_id})
        upload = parse_key_upload(body)
        assert (upload.signed.key_id, upload.registration_id) == (key_id, key_id)
    with pytest.raises(BadRequest, match="registrationId is not between 0 and 2147483647"):
        parse_key_upload(encoded(UPLOAD | {"registrationId": 2**31}))


def test_true_is_not_the_number_one() -> None:
    """Python takes a boolean for an integer; the contract does not."""
    with pytest.raises(BadRequest, match="registrationId is not an integer"):
        parse_key_upload(encoded(UPLOAD | {"registrationId": True}))


def test_an_error_names_the_place_in_a_list() -> None:
    """The message tells which of a hundred keys is wrong."""
    keys = one_time_keys(1, 5)
    keys[3]["publicKey"] = "AAAA"
    with pytest.raises(BadRequest, match=r"^oneTimePreKeys\[3\]\.publicKey: "):
        parse_key_upload(encoded(UPLOAD | {"oneTimePreKeys": keys}))


def test_texts_are_taken_as_they_are() -> None:
    """No trimming, no folding of case: an exact match is the store's business."""
    assert parse_refresh_token(encoded({"refreshToken": " X "})) == " X "
    assert parse_credentials(encoded({"username": " A\0", "password": ""})) == Credentials(" A\0", "")


def test_tokens_are_written_as_the_contract_has_them() -> None:
    """AuthResponse: three fields, the time in whole seconds."""
    body = tokens_body(Tokens("access", "refresh", 1_700_000_000))
    assert orjson.loads(body) == {"token": "access", "refreshToken": "refresh", "expiresAt": 1_700_000_000}


@pytest.mark.parametrize("one_time", [None, 0, 9])
def test_a_bundle_is_written_as_the_contract_has_it(one_time: int | None) -> None:
    """PreKeyBundle: the one-time key is there also with id 0, and null when none was left."""
    bundle = Bundle("identity", 4711, 7, "signed", "signature", one_time, None if one_time is None else "public")
    assert orjson.loads(bundle_body(bundle)) == {
        "registrationId": 4711,
        "identityKey": "identity",
        "signedPreKey": {"keyId": 7, "publicKey": "signed", "signature": "signature"},
        "oneTimePreKey": None if one_time is None else {"keyId": one_time, "publicKey": "public"},
    }


def test_an_error_is_one_field() -> None:
    """ErrorResponse, whatever is in the sentence."""
    assert orjson.loads(error_response(400, 'a "quoted"\nword').body) == {"error": 'a "quoted"\nword'}
