"""WebSocket frames as a server writes them: RFC 6455 section 5.2, unmasked and in one piece."""

import struct

CLOSE_OPCODE = 0x8
PING_OPCODE = 0x9
PONG_OPCODE = 0xA
BINARY_OPCODE = 0x2
_FINAL = 0x80


def control(opcode: int, payload: bytes = b"") -> bytes:
    """A ping, pong or close frame; the payload has at most 125 bytes (RFC 6455 section 5.5)."""
    return frame(opcode, payload)


def close(code: int, reason: str = "") -> bytes:
    """A close frame (RFC 6455 section 5.5.1)."""
    return frame(CLOSE_OPCODE, struct.pack("!H", code) + reason.encode())


def frame(opcode: int, payload: bytes) -> bytes:
    """A whole message in one frame."""
    return head(opcode, len(payload)) + payload


def head(opcode: int, size: int) -> bytes:
    """What goes before a payload of so many bytes."""
    # The shortest of three forms is the only one allowed (RFC 6455 section 5.2, payload length).
    if size < 126:
        return struct.pack("!BB", _FINAL | opcode, size)
    if size < 1 << 16:
        return struct.pack("!BBH", _FINAL | opcode, 126, size)
    return struct.pack("!BBQ", _FINAL | opcode, 127, size)
