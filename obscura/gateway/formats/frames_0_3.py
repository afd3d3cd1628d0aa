"""The gateway's protobuf frames and the message id, to and from bytes.

An envelope is assembled by hand around the sender's bytes rather than parsed and
serialised again: unknown fields of the message reach the recipient untouched, and
delivering costs no copy beyond the frame itself. Layouts: proto/obscura/v1/obscura.proto,
RFC 6455 section 5.2 (WebSocket frames), RFC 9562 section 5.7 (UUIDv7).
"""

import re
import struct
from functools import lru_cache
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
_ENVELOPE_IDS_SIZE = 2 * (2 + 36)
_TAG_ENVELOPE_TIMESTAMP = b"\x18"  # field 3, varint
_TAG_ENVELOPE_MESSAGE = b"\x22"  # field 4, length-delimited

_ACK_HEAD = b"\x5a\x26\x0a\x24"  # field 11 of 38 bytes: field 1 of 36, the text of a UUID
_ACK_SIZE = 40

_UUID_TEXT = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_MIDDLE = slice(13, 28)  # of the text: between milliseconds and sequence

_HASH_BITS = 42
_LOW_HASH_BITS = 30  # of the 42: what fits beside the sequence behind the UUID's variant
_VERSION_7 = 0x7 << 12
_VARIANT = 0b10 << 30


class EntryId(NamedTuple):
    """A place in an inbox: the id of its stream entry. Compares in queue order."""

    ms: int
    seq: int

    @classmethod
    def parse(cls, text: bytes) -> "EntryId":
        """From Redis's ``<ms>-<seq>``."""
        ms, seq = text.split(b"-")
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

    __slots__ = ("_middle",)

    def __init__(self, user_id: UUID) -> None:
        digest = blake2b(user_id.bytes, digest_size=6, person=b"obscura-msgid").digest()
        hashed = int.from_bytes(digest, "big") >> (48 - _HASH_BITS)
        version = _VERSION_7 | hashed >> _LOW_HASH_BITS
        variant = _VARIANT | hashed & ((1 << _LOW_HASH_BITS) - 1)
        self._middle = f"-{version:04x}-{variant >> 16:04x}-{variant & 0xFFFF:04x}"

    def encode(self, entry: EntryId) -> str:
        """The envelope's id, in canonical text."""
        ms, seq = entry
        return f"{ms >> 16:08x}-{ms & 0xFFFF:04x}{self._middle}{seq:08x}"

    def decode(self, message_id: str) -> EntryId | None:
        """The entry a client names, or None if it is no UUID or not of this inbox."""
        text = message_id.lower()
        if text[_MIDDLE] != self._middle or not _UUID_TEXT.fullmatch(text):
            return None
        return EntryId(int(text[:8] + text[9:13], 16), int(text[28:], 16))


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
    """The message id of an ack frame, in lower case; None for a frame of another payload or of garbage."""
    if len(frame) == _ACK_SIZE and frame.startswith(_ACK_HEAD) and frame.isascii():  # as every encoder writes it
        return frame[len(_ACK_HEAD) :].decode().lower()
    try:
        parsed = WebSocketFrame.FromString(frame)
    except DecodeError:
        return None
    return parsed.ack.message_id.lower() if parsed.HasField("ack") else None


def envelope(message_id: str, source_user_id: bytes, timestamp_ms: int, body: bytes) -> bytes:
    """A WebSocket message that carries one Envelope, ready for the socket. Ids are of 36 characters."""
    timestamp = _timestamp(timestamp_ms)
    head, body_head = _envelope_heads(len(timestamp), len(body))
    return b"".join(
        (
            head,
            message_id.encode(),
            _TAG_ENVELOPE_SOURCE,
            source_user_id,
            _TAG_ENVELOPE_TIMESTAMP,
            timestamp,
            body_head,
            body,
        )
    )


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


@lru_cache(maxsize=4096)
def _envelope_heads(timestamp_size: int, body_size: int) -> tuple[bytes, bytes]:
    """What goes before the id and before the body: the same for all messages of a size."""
    body_head = _TAG_ENVELOPE_MESSAGE + _varint(body_size)
    size = _ENVELOPE_IDS_SIZE + len(_TAG_ENVELOPE_TIMESTAMP) + timestamp_size + len(body_head) + body_size
    frame_head = _TAG_FRAME_ENVELOPE + _varint(size)
    return _websocket_head(_BINARY_OPCODE, len(frame_head) + size) + frame_head + _TAG_ENVELOPE_ID, body_head


def _websocket_frame(opcode: int, payload: bytes) -> bytes:
    return _websocket_head(opcode, len(payload)) + payload


def _websocket_head(opcode: int, size: int) -> bytes:
    if size < 126:
        return struct.pack("!BB", _FINAL | opcode, size)
    if size < 1 << 16:
        return struct.pack("!BBH", _FINAL | opcode, 126, size)
    return struct.pack("!BBQ", _FINAL | opcode, 127, size)


def _timestamp(ms: int) -> bytes:
    """A varint of which only the first two bytes change from message to message."""
    if ms < 1 << 14:
        return _varint(ms)
    return bytes((ms & 0x7F | 0x80, ms >> 7 & 0x7F | 0x80)) + _slow_varint(ms >> 14)


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


_slow_varint = lru_cache(maxsize=1024)(_varint)
