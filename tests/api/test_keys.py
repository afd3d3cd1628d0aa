"""Uploads and bundles of keys, through the API of one node."""

import base64
import os
import random
from collections.abc import Awaitable, Callable
from copy import deepcopy
from typing import Any

import pytest
import xeddsa
from redis import Redis

from obscura.client.device_keys import Device, encode, one_time_keys, random_public_key
from obscura.crypto.curve import LOW_ORDER
from obscura.node.node import Node
from tests.conftest import StartNode
from tests.support.client import Api, Socket, User
from tests.support.waiting import eventually

P = 2**255 - 19
MAX_ID = 2**31 - 1
SOME_KEY = random_public_key()


async def remaining_keys(user: User) -> list[tuple[int, str]]:
    """Fetch bundles until no one-time pre-key is left; returns their ids and public keys in that order."""
    keys = []
    while key := (await user.bundle_of(user)).json["oneTimePreKey"]:
        keys.append((key["keyId"], key["publicKey"]))
    return keys


async def registered(api: Api, device: Device | None = None) -> tuple[User, dict[str, Any]]:
    """A new account with one one-time pre-key, and the body that made it."""
    device = device or Device()
    body = api.registration(f"user-{os.urandom(8).hex()}", device, pre_keys=1)
    answer = await api.call("POST", "/v1/users", json=body)
    return User(api, body["username"], device, answer.json["token"], answer.json["refreshToken"]), body


def as_pairs(keys: list[dict[str, Any]]) -> list[tuple[int, str]]:
    return [(key["keyId"], key["publicKey"]) for key in keys]


def with_value(body: dict[str, Any], path: str, value: object) -> dict[str, Any]:
    """A copy with the field at ``a.b.0.c`` changed."""
    changed = deepcopy(body)
    *parents, last = path.split(".")
    place: Any = changed
    for name in parents:
        place = place[int(name) if name.isdigit() else name]
    place[last] = value
    return changed


def twist_key() -> str:
    """A u-coordinate that belongs to no point of the curve (Euler's criterion)."""
    while True:
        u = random.getrandbits(255) % P
        if pow(u**3 + 486662 * u**2 + u, (P - 1) // 2, P) == P - 1:
            return encode(b"\x05" + u.to_bytes(32, "little"))


def take_over(user: User, device: Device, *, signed_id: int = 1, pre_keys: int = 3) -> Awaitable[Any]:
    """Upload another device's keys."""
    return user.upload(device.takeover(signed_id, one_time_keys(1000, pre_keys)))


# What a key is.


NO_PUBLIC_KEYS = [
    "",
    "no base64!",
    encode(bytes(32)),
    encode(b"\x05" + bytes([9] * 31)),
    encode(b"\x05" + bytes([9] * 33)),
    encode(b"\x06" + bytes([9] * 32)),
    base64.urlsafe_b64encode(b"\x05" + bytes([255] * 31) + b"\x00").decode(),
    SOME_KEY[:-1],
    SOME_KEY + "\n",
    " " + SOME_KEY,
    SOME_KEY + SOME_KEY,
    "💥" * 11,
    7,
    None,
    [SOME_KEY],
    {"key": SOME_KEY},
]


@pytest.mark.parametrize("path", ["identityKey", "signedPreKey.publicKey", "oneTimePreKeys.0.publicKey"])
async def test_a_public_key_is_33_bytes_with_type_5_in_base64(api: Api, path: str) -> None:
    """Anything else is a 400 that names the field."""
    body = api.registration("somebody", Device(), pre_keys=1)
    for value in NO_PUBLIC_KEYS:
        answer = await api.call("POST", "/v1/users", json=with_value(body, path, value))
        assert (answer.status, path.replace(".0", "[0]") in answer.error) == (400, True), value


async def test_low_order_points_are_refused_as_any_key(api: Api) -> None:
    """Each of them, with the top bit set or not, as identity, signed and one-time pre-key."""
    user = await api.register(pre_keys=0)
    body = user.device.takeover(2, one_time_keys(1, 1))
    for u in LOW_ORDER:
        for path in ("identityKey", "signedPreKey.publicKey", "oneTimePreKeys.0.publicKey"):
            answer = await user.upload(with_value(body, path, encode(b"\x05" + u)))
            assert (answer.status, "low-order" in answer.error) == (400, True), (u.hex(), path)


async def test_a_key_on_the_twist_is_a_one_time_key_like_any(api: Api) -> None:
    """X25519 is made for the twist too, so half of all 32-byte strings are not refused."""
    user = await api.register(pre_keys=0)
    keys = [{"keyId": key_id, "publicKey": twist_key()} for key_id in range(5)]
    assert (await user.upload(user.device.upload(2, keys))).status == 200
    assert await remaining_keys(user) == as_pairs(keys)


async def test_an_identity_on_the_twist_signs_nothing(api: Api) -> None:
    """It has no Ed25519 key, so no signature is its own."""
    user = await api.register(pre_keys=0)
    body = Device().takeover(1, []) | {"identityKey": twist_key()}
    assert "signature" in (await user.upload(body)).error


@pytest.mark.parametrize("sign_bit", [False, True])
@pytest.mark.parametrize("with_type_byte", [True, False])
async def test_signatures_in_every_form_of_clients_are_accepted(api: Api, sign_bit: bool, with_type_byte: bool) -> None:
    """Over the 33-byte and the 32-byte form, by either of the identity's two Ed25519 keys, the bit named or lost."""
    user = await api.register(pre_keys=0)
    private = xeddsa.priv_force_sign(user.device.private, sign_bit)
    for signed_id, names_bit in enumerate([False, True], start=2):
        public = b"\x05" + xeddsa.priv_to_curve25519_pub(os.urandom(32))
        signature = xeddsa.ed25519_priv_sign(private, public if with_type_byte else public[1:])
        if names_bit:
            signature = signature[:63] + bytes([signature[63] & 0x7F | sign_bit << 7])
        signed = {"keyId": signed_id, "publicKey": encode(public), "signature": encode(signature)}
        assert (await user.upload({"signedPreKey": signed, "oneTimePreKeys": []})).status == 200
        assert (await user.bundle_of(user)).json["signedPreKey"] == signed


async def test_a_signature_by_another_identity_is_refused(api: Api) -> None:
    """At a refill it must be the stored identity's, at a takeover and a registration the new one's."""
    user = await api.register(pre_keys=0)
    stranger, new = Device(), Device()
    refill = stranger.upload(2, [])
    takeover = new.takeover(1, []) | {"signedPreKey": user.device.signed_pre_key(1)}
    registration = api.registration("somebody", new) | {"signedPreKey": stranger.signed_pre_key(1)}
    for answer in (
        await user.upload(refill),
        await user.upload(takeover),
        await api.call("POST", "/v1/users", json=registration),
    ):
        assert (answer.status, "signedPreKey.signature" in answer.error) == (400, True)


NO_SIGNATURES = [
    "",
    "no base64!",
    encode(bytes(63)),
    encode(bytes(65)),
    encode(bytes(64)),
    encode(b"\xff" * 64),
    7,
    None,
]


async def test_a_signature_that_is_none_is_refused(api: Api) -> None:
    """Truncated, empty, all zeros, all ones, no text."""
    user = await api.register(pre_keys=0)
    body = user.device.upload(2, [])
    for value in NO_SIGNATURES:
        answer = await user.upload(with_value(body, "signedPreKey.signature", value))
        assert (answer.status, "signedPreKey.signature" in answer.error) == (400, True), value


# Numbers and counts.


@pytest.mark.parametrize("path", ["registrationId", "signedPreKey.keyId", "oneTimePreKeys.0.keyId"])
async def test_an_id_is_a_whole_number_of_31_bits(api: Api, path: str) -> None:
    """Anything else is a 400 that names the field."""
    body = api.registration("somebody", Device(), pre_keys=1)
    for value in (-1, 2**31, 2**63, 1.5, 1.0, True, "1", None, [1]):
        answer = await api.call("POST", "/v1/users", json=with_value(body, path, value))
        assert (answer.status, path.replace(".0", "[0]") in answer.error) == (400, True), value
    # Beyond 64 bits the JSON parser gives up; that is a 400 all the same.
    assert (await api.call("POST", "/v1/users", json=with_value(body, path, 10**30))).status == 400


@pytest.mark.parametrize("number", [0, MAX_ID])
async def test_ids_at_both_ends_are_fine(api: Api, number: int) -> None:
    """0 and 2^31-1 are stored and handed out."""
    device = Device(registration_id=number)
    body = device.takeover(number, one_time_keys(number, 1))
    user = await api.register(pre_keys=0)
    assert (await user.upload(body)).status == 200
    bundle = (await user.bundle_of(user)).json
    ids = (bundle["registrationId"], bundle["signedPreKey"]["keyId"], bundle["oneTimePreKey"]["keyId"])
    assert ids == (number, number, number)


async def test_a_key_id_twice_in_a_request_is_refused(api: Api) -> None:
    """Whether the keys are equal or differ, at an upload and at a registration."""
    user = await api.register(pre_keys=0)
    key = one_time_keys(5, 1)
    for keys in (key + key, key + one_time_keys(5, 1)):
        assert (await user.upload(user.device.upload(2, keys))).status == 400
        body = api.registration("somebody", Device()) | {"oneTimePreKeys": keys}
        assert (await api.call("POST", "/v1/users", json=body)).status == 400
    assert await remaining_keys(user) == []


async def test_more_one_time_keys_than_the_maximum_are_refused(
    start_node: StartNode, connect_api: Callable[[Node], Api]
) -> None:
    """At a refill, a takeover and a registration; exactly the maximum is fine."""
    api = connect_api(await start_node(max_pre_keys=5))
    user = await api.register(pre_keys=5)
    too_many = one_time_keys(1, 6)
    registration = api.registration("somebody", Device()) | {"oneTimePreKeys": too_many}
    for answer in (
        await user.upload(user.device.upload(2, too_many)),
        await user.upload(Device().takeover(1, too_many)),
        await api.call("POST", "/v1/users", json=registration),
    ):
        assert (answer.status, answer.error) == (400, "oneTimePreKeys has more than 5 keys")
    assert (await user.upload(user.device.upload(2, one_time_keys(10, 5)))).status == 200
    assert (await take_over(user, Device(), pre_keys=5)).status == 200


# Bundles.


async def test_a_bundle_is_what_was_uploaded(api: Api) -> None:
    """All of it, in the base64 it came in, without a token."""
    user, body = await registered(api, Device(registration_id=77))
    bundle = await api.call("GET", f"/v1/keys/{user.id}")
    assert (bundle.status, bundle.headers["Content-Type"]) == (200, "application/json")
    assert bundle.json == {
        "registrationId": 77,
        "identityKey": body["identityKey"],
        "signedPreKey": body["signedPreKey"],
        "oneTimePreKey": body["oneTimePreKeys"][0],
    }


async def test_one_time_keys_are_handed_out_oldest_first(api: Api) -> None:
    """In the order of their arrival, whatever their ids; then the field is null."""
    first, second = one_time_keys(50, 3), one_time_keys(10, 2)
    user = await api.register(oneTimePreKeys=first)
    await user.upload(user.device.upload(2, second))
    assert await remaining_keys(user) == as_pairs(first + second)
    bundle = (await user.bundle_of(user)).json
    assert bundle["oneTimePreKey"] is None
    assert bundle["signedPreKey"]["keyId"] == 2


async def test_head_on_a_bundle_uses_up_no_key(api: Api) -> None:
    """A bundle is only ever fetched on purpose."""
    user = await api.register(pre_keys=2)
    answer = await api.call("HEAD", f"/v1/keys/{user.id}")
    assert (answer.status, answer.headers["Allow"]) == (405, "GET")
    assert len(await remaining_keys(user)) == 2


async def test_a_bundle_of_nobody_is_not_found(api: Api) -> None:
    """An id without an account is a 404; what is no id is a 400."""
    answer = await api.call("GET", "/v1/keys/7d444840-9dc0-41d1-b245-5ffdce74fad2")
    assert (answer.status, answer.error) == (404, "User not found or no keys available")
    assert (await api.call("GET", "/v1/keys/somebody")).status == 400


# Refills.


@pytest.mark.parametrize("names_identity", [False, True])
async def test_a_refill_needs_no_registration_id(api: Api, names_identity: bool) -> None:
    """With the stored identity or none it adds keys and replaces nothing but the signed one."""
    user = await api.register(pre_keys=2)
    body = user.device.upload(2, one_time_keys(100, 2))
    body |= {"identityKey": user.device.identity_key} if names_identity else {"identityKey": None}
    assert (await user.upload(body)).status == 200
    bundle = (await user.bundle_of(user)).json
    assert (bundle["identityKey"], bundle["registrationId"]) == (user.device.identity_key, 4711)
    assert bundle["signedPreKey"] == body["signedPreKey"]
    assert [key_id for key_id, _ in await remaining_keys(user)] == [2, 100, 101]


async def test_a_refill_leaves_the_registration_id_alone(api: Api) -> None:
    """It belongs to the device, which a refill does not change."""
    user = await api.register(pre_keys=0)
    body = user.device.upload(2, []) | {"identityKey": user.device.identity_key, "registrationId": 5}
    assert (await user.upload(body)).status == 200
    assert (await user.bundle_of(user)).json["registrationId"] == 4711


async def test_a_refill_over_the_maximum_drops_the_oldest(
    start_node: StartNode, connect_api: Callable[[Node], Api]
) -> None:
    """The newest stay, in their order."""
    api = connect_api(await start_node(max_pre_keys=5))
    old, new = one_time_keys(1, 4), one_time_keys(10, 3)
    user = await api.register(oneTimePreKeys=old)
    await user.upload(user.device.upload(2, new))
    assert await remaining_keys(user) == as_pairs(old[2:] + new)


async def test_a_key_id_already_stored_is_kept(api: Api) -> None:
    """The old public key stays, and its turn; new ones queue up behind."""
    old = one_time_keys(1, 3)
    user = await api.register(oneTimePreKeys=old)
    new = one_time_keys(9, 1)
    await user.upload(user.device.upload(2, one_time_keys(2, 2) + new + one_time_keys(1, 1)))
    assert await remaining_keys(user) == as_pairs(old + new)


async def test_a_signed_pre_key_must_be_newer_than_the_stored_one(api: Api) -> None:
    """An equal or lower id is refused and the rest of the request is not done either; a takeover may start anew."""
    user = await api.register(pre_keys=0)
    assert (await user.upload(user.device.upload(7, []))).status == 200
    for signed_id in (7, 6, 0):
        answer = await user.upload(user.device.upload(signed_id, one_time_keys(1, 1)))
        assert (answer.status, answer.error) == (400, "signedPreKey.keyId is not greater than the stored one")
    assert (await user.bundle_of(user)).json["oneTimePreKey"] is None
    assert (await user.upload(user.device.upload(8, []))).status == 200
    assert (await take_over(user, Device(), signed_id=0)).status == 200


async def test_a_client_that_keeps_its_signed_pre_key_can_refill(api: Api) -> None:
    """All published clients send theirs again with every refill, the web client without the signature."""
    user, body = await registered(api)
    stored, added = body["signedPreKey"], one_time_keys(100, 4)
    for signed, keys in ((stored, added[:2]), (stored | {"signature": ""}, added[2:])):
        assert (await user.upload({"signedPreKey": signed, "oneTimePreKeys": keys})).status == 200
    bundle = (await user.bundle_of(user)).json
    assert (bundle["signedPreKey"], bundle["oneTimePreKey"]) == (stored, body["oneTimePreKeys"][0])
    assert await remaining_keys(user) == as_pairs(added)


async def test_an_upload_whose_answer_was_lost_can_be_repeated(api: Api) -> None:
    """200 again, for a takeover and refills; no key that was taken meanwhile comes back."""
    device = Device()
    user, takeover = await api.register(pre_keys=0), device.takeover(1, one_time_keys(1, 2))
    refill = {"signedPreKey": takeover["signedPreKey"], "oneTimePreKeys": one_time_keys(10, 2)}
    for upload in (takeover, refill, device.upload(2, one_time_keys(20, 2))):
        assert (await user.upload(upload)).status == 200
        taken = await remaining_keys(user)
        assert len(taken) == 2
        assert (await user.upload(upload)).status == 200
        assert await remaining_keys(user) == []


async def test_the_stored_signed_pre_key_brings_one_time_keys_or_is_refused(api: Api) -> None:
    """A pure replay, and the stored key under a new id, are 400 and change nothing."""
    user, body = await registered(api)
    stored, keys = body["signedPreKey"], one_time_keys(100, 1)
    for signed, added, error in (
        (stored, [], "signedPreKey.keyId is not greater than the stored one"),
        (stored | {"signature": ""}, [], "signedPreKey.keyId is not greater than the stored one"),
        (stored | {"keyId": 2}, keys, "signedPreKey.publicKey is stored under another keyId"),
        (stored | {"signature": user.device.signed_pre_key(1)["signature"]}, keys, "signedPreKey.signature is not"),
    ):
        answer = await user.upload({"signedPreKey": signed, "oneTimePreKeys": added})
        assert (answer.status, error in answer.error) == (400, True), answer.error
    assert await remaining_keys(user) == as_pairs(body["oneTimePreKeys"])


async def test_only_the_stored_signed_pre_key_comes_without_a_signature(api: Api) -> None:
    """A new one of a refill, a takeover and a registration must be signed."""
    user = await api.register(pre_keys=0)
    unsigned = user.device.signed_pre_key(2) | {"signature": ""}
    keys = {"signedPreKey": unsigned, "oneTimePreKeys": one_time_keys(1, 1)}
    for answer in (
        await user.upload(keys),
        await user.upload(Device().takeover(1, []) | keys),
        await api.call("POST", "/v1/users", json=api.registration("somebody", Device()) | keys),
    ):
        assert (answer.status, "signedPreKey.signature" in answer.error) == (400, True)


# Takeovers.


async def test_a_takeover_needs_a_registration_id(api: Api) -> None:
    """Without one nothing happens, to nobody."""
    user = await api.register(pre_keys=1)
    other = await user.another_session()
    body = Device().takeover(1, [])
    for answer in (await user.upload(body | {"registrationId": None}), await user.upload(_without_id(body))):
        assert (answer.status, "registrationId" in answer.error) == (400, True)
    assert (await user.bundle_of(user)).json["identityKey"] == user.device.identity_key
    assert (await api.refresh(other.refresh_token)).status == 200


def _without_id(body: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in body.items() if name != "registrationId"}


async def test_a_takeover_makes_the_new_device_the_only_one(api: Api) -> None:
    """Only the new device's keys are handed out, and no old message comes."""
    alice, bob = await api.register(), await api.register(pre_keys=10)
    await alice.deliver(bob, b"for the old device")
    device = Device(registration_id=5)
    body = device.takeover(1, one_time_keys(1, 2))
    assert (await bob.upload(body)).status == 200
    bundle = (await bob.bundle_of(bob)).json
    assert (bundle["identityKey"], bundle["registrationId"]) == (device.identity_key, 5)
    assert (bundle["signedPreKey"], bundle["oneTimePreKey"]) == (body["signedPreKey"], body["oneTimePreKeys"][0])
    assert await remaining_keys(bob) == as_pairs(body["oneTimePreKeys"][1:])
    await alice.deliver(bob, b"for the new device")
    socket = await bob.connect()
    await socket.status()
    assert (await socket.envelope()).message.content == b"for the new device"


async def test_a_takeover_ends_every_other_session(api: Api) -> None:
    """Their refresh and access tokens are dead; those of the session that made it go on."""
    user = await api.register()
    others = [await user.another_session() for _ in range(3)]
    assert (await take_over(user, Device())).status == 200
    for other in others:
        assert (await api.refresh(other.refresh_token)).status == 401
        assert (await other.upload(other.device.upload(2, []))).status == 401
        assert await other.try_connect() == 401
    assert isinstance(await user.try_connect(), Socket)
    assert (await api.refresh(user.refresh_token)).status == 200


async def test_a_takeover_closes_every_socket_of_the_account(api: Api) -> None:
    """Each with 4001, the caller's own included; it may come back."""
    user = await api.register()
    sockets = [await user.connect(), await (await user.another_session()).connect()]
    await take_over(user, Device(), pre_keys=30)
    assert [await socket.close_code() for socket in sockets] == [4001, 4001]
    assert isinstance(await user.try_connect(), Socket)


async def test_a_session_that_is_over_cannot_take_over(api: Api, redis: Redis) -> None:
    """Also where the node has not heard of its end: it is a 401, nothing changes and nobody else is ended."""
    user = await api.register(pre_keys=1)
    other = await user.another_session()
    redis.delete(f"obscura:{{{user.id}}}:session:{user.session_id}")
    answer = await take_over(user, Device())
    assert (answer.status, answer.error) == (401, "The session has ended")
    assert (await user.bundle_of(user)).json["identityKey"] == user.device.identity_key
    assert (await other.upload(other.device.upload(2, []))).status == 200
    assert (await api.refresh(other.refresh_token)).status == 200


async def test_keys_of_a_logged_out_session_are_not_taken(api: Api) -> None:
    """Neither a refill nor a takeover."""
    user = await api.register()
    await user.logout()
    assert (await user.upload(user.device.upload(2, []))).status == 401
    assert (await take_over(user, Device())).status == 401


async def test_a_takeover_that_died_half_way_is_done_by_the_next(api: Api, redis: Redis) -> None:
    """Sessions it had cut off, but not yet entered in the list of ended ones, are ended by the one that succeeds."""
    user = await api.register()
    other = await user.another_session()
    redis.delete(f"obscura:{{{user.id}}}:session:{other.session_id}")  # as lua/keys_takeover_begin.lua leaves it
    assert (await other.send(user, b"still here")).status == 201
    assert (await take_over(user, Device())).status == 200
    await eventually(lambda: _is_refused(other, user))


async def _is_refused(sender: User, recipient: User) -> bool:
    return (await sender.send(recipient, b"still here?")).status == 401


async def test_scripts_survive_a_flush(api: Api, redis: Redis) -> None:
    """SCRIPT FLUSH between two calls is not noticed by anybody."""
    user = await api.register(pre_keys=1)
    for step in (
        lambda: user.bundle_of(user),
        lambda: user.upload(user.device.upload(2, [])),
        lambda: take_over(user, Device()),
    ):
        redis.script_flush()
        assert (await step()).status == 200
