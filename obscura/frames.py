"""The gateway's protobuf frames and the message id, to and from bytes.

An envelope is assembled by hand around the sender's bytes rather than parsed and
serialised again: unknown fields of the message reach the recipient untouched, and
delivering costs no copy beyond the frame itself. Layouts: proto/obscura/v1/obscura.proto,
RFC 6455 section 5.2 (WebSocket frames), RFC 9562 section 5.7 (UUIDv7).
"""

import re
import struct
from hashlib import blake2b
from typing import NamedTuple
from uuid import UUID

from google.protobuf.message import DecodeError

from obscura.v1.obscura_pb2 import EncryptedMessage, PreKeyStatus, WebSocketFrame

CLOSE_OPCODE = 0x8
PING_OPCODE = 0x9
PONG_OPCODE = 0xA
_BINARY_OPCODE = 0x2
_FINAL = 0x80

_TAG_FRAME_ENVELOPE = b"\x52"  # field 10, length-delimited
_TAG_ENVELOPE_ID = b"\x0a\x24"  # field 1, 36 bytes: the text of a UUID
_TAG_ENVELOPE_SOURCE = b"\x12\x24"  # field 2, 36 bytes
_TAG_ENVELOPE_TIMESTAMP = b"\x18"  # field 3, varint
_TAG_ENVELOPE_MESSAGE = b"\x22"  # field 4, length-delimited

_UUID_TEXT = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.IGNORECASE)

_HASH_BITS = 42
_SEQUENCE_BITS = 32
_LOW_HASH_BITS = 30  # of the 42: what fits beside the sequence behind the UUID's variant
_VERSION_7 = 0x7 << 76
_VARIANT = 0b10 << 62
_FIXED_BITS = (0xF << 76) | (0b11 << 62)


class EntryId(NamedTuple):
    """A place in an inbox: the id of its stream entry. Compares in queue order."""

    ms: int
    seq: int

    @classmethod
    def parse(cls, text: bytes) -> "EntryId":
        """From Redis's ``<ms>-<seq>``."""
        ms, _, seq = text.partition(b"-")
        return cls(int(ms), int(seq))

    def __str__(self) -> str:
        return f"{self.ms}-{self.seq}"


START = EntryId(0, 0)  # before every entry


class MessageIds:
    """Turns the entry ids of one user's inbox into the UUIDs clients see, and back.

    The UUID is a UUIDv7 of the entry's milliseconds, 42 bits of a hash of the
    recipient's id and the entry's 32-bit sequence number, so an ack needs no index:
    a UUID that was never this user's decodes to None.
    """

    __slots__ = ("_hash",)

    def __init__(self, user_id: UUID) -> None:
        digest = blake2b(user_id.bytes, digest_size=6, person=b"obscura-msgid").digest()
        self._hash = int.from_bytes(digest, "big") >> (48 - _HASH_BITS)

    def encode(self, entry: EntryId) -> str:
        """The envelope's id, in canonical text."""
        high, low = self._hash >> _LOW_HASH_BITS, self._hash & ((1 << _LOW_HASH_BITS) - 1)
        value = entry.ms << 80 | _VERSION_7 | high << 64 | _VARIANT | low << _SEQUENCE_BITS | entry.seq
        text = f"{value:032x}"
        return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"

    def decode(self, message_id: str) -> EntryId | None:
        """The entry a client names, or None if it is no UUID or not of this inbox."""
        if not _UUID_TEXT.fullmatch(message_id):
            return None
        value = int(message_id.replace("-", ""), 16)
        high = value >> 64 & 0xFFF
        low = value >> _SEQUENCE_BITS & ((1 << _LOW_HASH_BITS) - 1)
        if value & _FIXED_BITS != _VERSION_7 | _VARIANT or high << _LOW_HASH_BITS | low != self._hash:
            return None
        return EntryId(value >> 80, value & 0xFFFFFFFF)


def has_content(body: bytes) -> bool:
    """Whether ``body`` is an EncryptedMessage with content in it.

    The type may be any number, known or not: the enum is open.

    Raises:
        ValueError: Not a protobuf message of this shape.
    """
    try:
        return bool(EncryptedMessage.FromString(body).content)
    except DecodeError as error:
        raise ValueError("not an EncryptedMessage") from error


def acked_message_id(frame: bytes) -> str | None:
    """The message id of an ack frame; None for a frame of another payload or of garbage."""
    try:
        parsed = WebSocketFrame.FromString(frame)
    except DecodeError:
        return None
    return parsed.ack.message_id if parsed.HasField("ack") else None


def envelope(message_id: str, source_user_id: bytes, timestamp_ms: int, body: bytes) -> bytes:
    """A WebSocket message that carries one Envelope, ready for the socket."""
    payload = b"".join(
        (
            _TAG_ENVELOPE_ID,
            message_id.encode(),
            _TAG_ENVELOPE_SOURCE,
            source_user_id,
            _TAG_ENVELOPE_TIMESTAMP,
            _varint(timestamp_ms),
            _TAG_ENVELOPE_MESSAGE,
            _varint(len(body)),
            body,
        )
    )
    return _websocket_frame(_BINARY_OPCODE, b"".join((_TAG_FRAME_ENVELOPE, _varint(len(payload)), payload)))


def pre_key_status(count: int, threshold: int) -> bytes:
    """A WebSocket message that carries a PreKeyStatus, ready for the socket."""
    status = PreKeyStatus(one_time_pre_key_count=count, min_threshold=threshold)
    return _websocket_frame(_BINARY_OPCODE, WebSocketFrame(pre_key_status=status).SerializeToString())


def control(opcode: int, payload: bytes = b"") -> bytes:
    """A ping, pong or close frame; payload at most 125 bytes."""
    return _websocket_frame(opcode, payload)


def close(code: int, reason: str = "") -> bytes:
    """A close frame (RFC 6455 section 5.5.1)."""
    return _websocket_frame(CLOSE_OPCODE, struct.pack("!H", code) + reason.encode())


def _websocket_frame(opcode: int, payload: bytes) -> bytes:
    size = len(payload)
    if size < 126:
        return struct.pack("!BB", _FINAL | opcode, size) + payload
    if size < 1 << 16:
        return struct.pack("!BBH", _FINAL | opcode, 126, size) + payload
    return struct.pack("!BBQ", _FINAL | opcode, 127, size) + payload


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)
