"""WebSocket frames as a server writes them: RFC 6455 section 5.2, unmasked; large messages in fragments."""

import struct
from collections.abc import Iterator

CLOSE_OPCODE = 0x8
PING_OPCODE = 0x9
PONG_OPCODE = 0xA
BINARY_OPCODE = 0x2
_CONTINUATION_OPCODE = 0x0
_FINAL = 0x80
_SHORT_HEAD_BYTES = 2
_LONG_HEAD_BYTES = {126: 4, 127: 10}


def control(opcode: int, payload: bytes = b"") -> bytes:
    """A ping, pong or close frame; the payload has at most 125 bytes (RFC 6455 section 5.5)."""
    return frame(opcode, payload)


def close(code: int, reason: str = "") -> bytes:
    """A close frame (RFC 6455 section 5.5.1)."""
    return frame(CLOSE_OPCODE, struct.pack("!H", code) + reason.encode())


def frame(opcode: int, payload: bytes) -> bytes:
    """A whole message in one frame."""
    return head(opcode, len(payload)) + payload


def fragments(message: bytes, max_bytes: int) -> Iterator[bytes]:
    """Cut a message of one frame into frames with payloads of up to ``max_bytes``, of which only the last is final.

    Control frames may go out between them, and no other data (RFC 6455 section 5.4).
    """
    opcode, start = message[0] & 0x0F, _LONG_HEAD_BYTES.get(message[1], _SHORT_HEAD_BYTES)
    for first in range(start, len(message), max_bytes):
        payload = message[first : first + max_bytes]
        is_final = first + max_bytes >= len(message)
        yield head(opcode, len(payload), is_final=is_final) + payload
        opcode = _CONTINUATION_OPCODE


def head(opcode: int, size: int, *, is_final: bool = True) -> bytes:
    """What goes before a payload of so many bytes."""
    first = _FINAL | opcode if is_final else opcode
    # The shortest of three forms is the only one allowed (RFC 6455 section 5.2, payload length).
    if size < 126:
        return struct.pack("!BB", first, size)
    if size < 1 << 16:
        return struct.pack("!BBH", first, 126, size)
    return struct.pack("!BBQ", first, 127, size)
