"""WebSocket frames as a server writes them."""

import struct

import pytest

from obscura.gateway.formats import rfc6455

pytestmark = pytest.mark.libraries


def unframed(data: bytes) -> tuple[int, bytes]:
    """Opcode and payload of one unmasked WebSocket frame (RFC 6455 section 5.2) with nothing behind it."""
    first, second = data[0], data[1]
    assert first & 0xF0 == 0x80, "not final, or a reserved bit"
    if second < 126:
        size, start = second, 2
    elif second == 126:
        (size,), start = struct.unpack_from("!H", data, 2), 4
        assert size > 125, "not the shortest form"
    else:
        assert second == 127, "masked"
        (size,), start = struct.unpack_from("!Q", data, 2), 10
        assert size > 0xFFFF, "not the shortest form"
    assert len(data) == start + size
    return first & 0x0F, data[start:]


def test_control_frames_carry_their_payload() -> None:
    """A ping, a pong with the ping's payload, a close with its code and reason."""
    assert unframed(rfc6455.control(rfc6455.PING_OPCODE)) == (9, b"")
    assert unframed(rfc6455.control(rfc6455.PONG_OPCODE, b"x" * 125)) == (10, b"x" * 125)
    assert unframed(rfc6455.close(4001, "device replaced")) == (8, b"\x0f\xa1device replaced")


def test_a_close_without_a_reason_carries_its_code_alone() -> None:
    """And one without a code nothing at all (RFC 6455 section 5.5.1)."""
    assert unframed(rfc6455.close(1009)) == (8, b"\x03\xf1")
    assert unframed(rfc6455.control(rfc6455.CLOSE_OPCODE)) == (8, b"")


@pytest.mark.parametrize("size", [0, 125, 126, 65_535, 65_536])
def test_a_length_takes_the_shortest_form(size: int) -> None:
    """At each boundary between the three forms."""
    assert unframed(rfc6455.frame(rfc6455.BINARY_OPCODE, bytes(size))) == (2, bytes(size))


@pytest.mark.parametrize("size", [1, 4, 5, 8, 9, 125, 126, 65_535, 65_536, 100_000])
@pytest.mark.parametrize("max_bytes", [4, 200, 70_000])
def test_a_message_in_fragments_is_the_message(size: int, max_bytes: int) -> None:
    """The first fragment has the opcode, the others continue it, the last alone is final (RFC 6455 section 5.4)."""
    payload = bytes(range(256)) * (size // 256) + bytes(size % 256)
    fragments = list(rfc6455.fragments(rfc6455.frame(rfc6455.BINARY_OPCODE, payload), max_bytes))
    assert [fragment[0] & 0x0F for fragment in fragments] == [2] + [0] * (len(fragments) - 1)
    assert [fragment[0] >> 7 for fragment in fragments] == [0] * (len(fragments) - 1) + [1]
    payloads = [unframed(bytes([0x80 | fragment[0]]) + fragment[1:])[1] for fragment in fragments]
    assert b"".join(payloads) == payload
    assert max(map(len, payloads)) == min(size, max_bytes)
