import base64
import json
import random
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from obscura.crypto.curve import LOW_ORDER, PublicKey, Signature, verify

pytestmark = pytest.mark.libraries

P = 2**255 - 19
A = 486662
TOP_BIT = 2**255

VECTORS = json.loads((Path(__file__).parent / "vectors" / "xeddsa.json").read_text())
# Where the server and libsignal part, and why, is in vectors/README.md.
KNOWN_DIFFERENCES = ("sign bit wrong", "R neutral, s fitting", "s plus L")


def encoded(u: int) -> bytes:
    return u.to_bytes(32, "little")


def random_u(seed: int, count: int) -> list[int]:
    source = random.Random(seed)
    return [source.getrandbits(255) for _ in range(count)]


def is_on_twist(u: int) -> bool:
    """Tell by Euler's criterion: no point of the curve has this u-coordinate."""
    return pow(u**3 + A * u**2 + u, (P - 1) // 2, P) == P - 1


def agrees_on_a_secret(u: bytes) -> bool:
    """Tell by another X25519 implementation, which refuses an all-zero secret."""
    private = X25519PrivateKey.from_private_bytes(bytes(range(32)))
    try:
        private.exchange(X25519PublicKey.from_public_bytes(u))
    except ValueError:
        return False
    return True


def verdict(vector: dict[str, Any]) -> bool:
    return verify(
        PublicKey.from_base64(vector["identity"]),
        PublicKey.from_base64(vector["messageKey"]),
        Signature.from_base64(vector["signature"]),
    )


def some_key(seed: int = 1) -> PublicKey:
    return PublicKey(b"\x05" + random.Random(seed).randbytes(32))


def test_a_key_keeps_its_bytes_through_base64() -> None:
    """Reading what a key wrote gives an equal key, with the text a standard encoder gives."""
    key = some_key()
    assert key.base64 == base64.b64encode(key.raw).decode()
    assert PublicKey.from_base64(key.base64) == key
    assert key.u_coordinate == key.raw[1:]


@pytest.mark.parametrize("buffer", [bytes, bytearray, memoryview])
def test_a_key_is_read_from_any_buffer(buffer: Any) -> None:
    """A key read from a buffer is hashable and equal to one read from bytes."""
    raw = some_key().raw
    assert {PublicKey.from_bytes(buffer(raw))} == {PublicKey(raw)}


@pytest.mark.parametrize("length", [0, 1, 32, 34, 66])
def test_a_key_of_another_length_is_refused(length: int) -> None:
    """Anything but 33 bytes is no key, by bytes or by base64."""
    raw = b"\x05" * length
    with pytest.raises(ValueError, match=f"33 bytes, not {length}"):
        PublicKey.from_bytes(raw)
    with pytest.raises(ValueError, match=f"33 bytes, not {length}"):
        PublicKey.from_base64(base64.b64encode(raw).decode())


@pytest.mark.parametrize("type_byte", [0, 4, 6, 0x85])
def test_a_key_with_another_type_byte_is_refused(type_byte: int) -> None:
    """Only the type byte 0x05 stands for X25519."""
    with pytest.raises(ValueError, match="type byte"):
        PublicKey.from_bytes(bytes([type_byte]) + some_key().u_coordinate)


@pytest.mark.parametrize(
    "change",
    [
        lambda text: text + "=",
        lambda text: text + "\n",
        lambda text: " " + text,
        lambda text: text[:20] + "\n" + text[20:],
        lambda text: text[:-1],
        lambda text: text[:-1] + "-",
        lambda text: text[:-1] + "_",
        lambda text: text[:-1] + "*",
        lambda text: text[:-1] + "\u0665",
        lambda text: text[:-1] + "\ud800",
        lambda text: text[:-1] + "\0",
    ],
)
def test_a_key_in_sloppy_base64_is_refused(change: Any) -> None:
    """White space, other alphabets, missing characters or too much padding are not let through."""
    with pytest.raises(ValueError, match="base64"):
        PublicKey.from_base64(change(some_key().base64))


def test_a_signature_keeps_its_bytes_through_base64() -> None:
    """Reading what a signature wrote gives an equal signature."""
    signature = Signature.from_bytes(bytearray(range(64)))
    assert signature.base64 == base64.b64encode(bytes(range(64))).decode()
    assert Signature.from_base64(signature.base64) == signature


@pytest.mark.parametrize("length", [0, 63, 65, 128])
def test_a_signature_of_another_length_is_refused(length: int) -> None:
    """A truncated or extended signature is refused before any curve arithmetic."""
    with pytest.raises(ValueError, match=f"64 bytes, not {length}"):
        Signature.from_base64(base64.b64encode(bytes(length)).decode())


@pytest.mark.parametrize("ending", ["", "=", "===", "==\n"])
def test_a_signature_with_wrong_padding_is_refused(ending: str) -> None:
    """A signature's base64 ends in exactly two padding characters."""
    text = Signature(bytes(64)).base64.rstrip("=")
    with pytest.raises(ValueError, match="base64"):
        Signature.from_base64(text + ending)


def test_a_signature_with_spare_bits_set_is_refused() -> None:
    """A second spelling of the same bytes is not canonical."""
    text = Signature(bytes(64)).base64
    assert text.endswith("AA==")
    with pytest.raises(ValueError, match="base64"):
        Signature.from_base64(text[:-3] + "B==")


@pytest.mark.parametrize("u", sorted(LOW_ORDER), ids=bytes.hex)
def test_every_low_order_form_is_refused(u: bytes) -> None:
    """Each listed form makes another X25519 implementation agree on zero, so none is a key."""
    assert not agrees_on_a_secret(u)
    with pytest.raises(ValueError, match="low-order"):
        PublicKey.from_bytes(b"\x05" + u)


def test_the_list_has_both_forms_of_all_seven_points() -> None:
    """Every listed form is listed with its unused top bit both clear or set."""
    assert len(LOW_ORDER) == 14
    assert {int.from_bytes(u, "little") % TOP_BIT for u in LOW_ORDER} >= {0, 1, P - 1, P, P + 1}


def test_random_points_of_curve_or_twist_are_keys() -> None:
    """No key that agrees on a secret is refused, whichever of the two curves it is on."""
    candidates = random_u(seed=2, count=2000)
    assert 900 < sum(map(is_on_twist, candidates)) < 1100
    for u in candidates:
        assert agrees_on_a_secret(encoded(u))
        PublicKey.from_bytes(b"\x05" + encoded(u))


@pytest.mark.parametrize("top_bit", [0, TOP_BIT])
@pytest.mark.parametrize("base", [0, P - 20, P])
def test_neighbours_of_low_order_points_are_keys(base: int, top_bit: int) -> None:
    """Small, large or non-canonical u-coordinates are keys unless their order is low."""
    for u in range(base, min(base + 20, TOP_BIT)):
        raw = encoded(u + top_bit)
        assert agrees_on_a_secret(raw) == (raw not in LOW_ORDER)
        if raw not in LOW_ORDER:
            PublicKey.from_bytes(b"\x05" + raw)


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
def test_signatures_of_other_libraries_get_the_right_verdict(vector: dict[str, Any]) -> None:
    """Every form that clients send verifies; every forgery does not."""
    assert verdict(vector) is vector["valid"]


def test_the_verdict_is_that_of_libsignal_but_for_named_cases() -> None:
    """The server parts from Signal's own check only where the vectors' README says so."""
    different = [vector["name"] for vector in VECTORS if vector["valid"] != vector["libsignal"]]
    assert len(different) == 12
    assert all(any(case in name for case in KNOWN_DIFFERENCES) for name in different)


@pytest.mark.parametrize("sign_bit", [0, 1])
@pytest.mark.parametrize("message_bytes", [32, 33])
def test_the_vectors_hold_all_four_forms(message_bytes: int, sign_bit: int) -> None:
    """Both message lengths occur with both sign bits, from more than one library."""
    form = f"{message_bytes} bytes, sign bit {sign_bit}"
    libraries = {vector["name"].split(",")[0] for vector in VECTORS if vector["name"].endswith(form)}
    assert {"libsignal", "curve25519-js"} <= libraries


def test_no_single_flipped_bit_but_the_sign_bit_verifies() -> None:
    """Each of the other 511 bits of a signature counts."""
    vector = next(vector for vector in VECTORS if vector["valid"])
    identity, message_key = PublicKey.from_base64(vector["identity"]), PublicKey.from_base64(vector["messageKey"])
    number = int.from_bytes(Signature.from_base64(vector["signature"]).raw, "little")
    for bit in range(511):
        assert not verify(identity, message_key, Signature((number ^ 1 << bit).to_bytes(64, "little")))


def test_an_identity_on_the_twist_never_verifies() -> None:
    """A key without an Ed25519 form refuses every signature, without an error."""
    source = random.Random(3)
    good = Signature.from_base64(VECTORS[0]["signature"])
    message_key = PublicKey.from_base64(VECTORS[0]["messageKey"])
    for u in filter(is_on_twist, random_u(seed=4, count=100)):
        identity = PublicKey(b"\x05" + encoded(u))
        assert not verify(identity, message_key, good)
        assert not verify(identity, message_key, Signature(source.randbytes(64)))


def test_a_non_canonical_identity_gets_a_plain_no() -> None:
    """The u-coordinates from p + 2 up have no known owner, but are checked like any other."""
    for u in range(P + 2, TOP_BIT):
        for top_bit in (0, TOP_BIT):
            identity = PublicKey(b"\x05" + encoded(u + top_bit))
            assert not verify(identity, some_key(), Signature(bytes(64)))


def test_random_bytes_never_verify() -> None:
    """Whatever 64 bytes come, with whatever keys, the answer is no, without an error."""
    source = random.Random(5)
    for seed in range(300):
        assert not verify(some_key(seed), some_key(seed + 1), Signature(source.randbytes(64)))
