"""The frames of API 0.3.9: one envelope each, ids in the text of a UUID, an ack of one message or of many.

An envelope is assembled by hand around the sender's bytes rather than parsed and
serialised again: unknown fields of the message reach the recipient untouched, and
delivering costs no copy beyond the frame itself. Layout: proto/obscura/v1/obscura.proto.
"""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from uuid import UUID

from google.protobuf.message import DecodeError

from obscura.gateway.formats import rfc6455
from obscura.gateway.formats.frame_format import Envelope
from obscura.model.message_ids import MessageIds
from obscura.v1.obscura_pb2 import PreKeyStatus, WebSocketFrame

_TAG_FRAME_ENVELOPE = b"\x52"  # field 10, length-delimited
_TAG_ENVELOPE_ID = b"\x0a\x24"  # field 1, 36 bytes: the text of a UUID
_TAG_ENVELOPE_SOURCE = b"\x12\x24"  # field 2, 36 bytes
_ENVELOPE_IDS_SIZE = 2 * (2 + 36)
_TAG_ENVELOPE_TIMESTAMP = b"\x18"  # field 3, varint
_TAG_ENVELOPE_MESSAGE = b"\x22"  # field 4, length-delimited

# Field 11 of 38 bytes: field 1 or a single field 2, of 36 bytes, the text of a UUID.
_ACK_HEADS = (b"\x5a\x26\x0a\x24", b"\x5a\x26\x12\x24")
_ACK_HEAD_SIZE = 4
_ACK_SIZE = 40


class Frames03:
    """The frames of one inbox; see `FrameFormat`."""

    __slots__ = ("entry_of", "message_id")

    def __init__(self, address_id: UUID) -> None:
        ids = MessageIds(address_id)
        # Attributes rather than methods: they are called for each message, and this spares a call.
        self.message_id = ids.encode
        self.entry_of = ids.decode

    @staticmethod
    def acked(frame: bytes) -> Sequence[bytes]:
        if len(frame) == _ACK_SIZE and frame.startswith(_ACK_HEADS) and frame.isascii():  # as every encoder writes it
            return (frame[_ACK_HEAD_SIZE:].lower(),)
        try:
            parsed = WebSocketFrame.FromString(frame)
        except DecodeError:
            return ()
        if not parsed.HasField("ack"):
            return ()
        one, several = parsed.ack.message_id, parsed.ack.message_ids
        # The one that is not set is no id, unless there is no other.
        named = [one, *several] if one or not several else several
        return tuple([message_id.encode().lower() for message_id in named])

    @staticmethod
    def envelope(message_id: bytes, sender: bytes, timestamp_ms: int, body: bytes) -> bytes:
        timestamp = _timestamp(timestamp_ms)
        head, body_head = _envelope_heads(len(timestamp), len(body))
        return b"".join(
            (
                head,
                message_id,
                _TAG_ENVELOPE_SOURCE,
                sender,
                _TAG_ENVELOPE_TIMESTAMP,
                timestamp,
                body_head,
                body,
            )
        )

    @staticmethod
    def envelopes(envelopes: Iterable[Envelope]) -> bytes:
        return b"".join([Frames03.envelope(*envelope) for envelope in envelopes])

    @staticmethod
    def pre_key_status(count: int, threshold: int) -> bytes:
        status = PreKeyStatus(one_time_pre_key_count=count, min_threshold=threshold)
        return rfc6455.frame(rfc6455.BINARY_OPCODE, WebSocketFrame(pre_key_status=status).SerializeToString())


@lru_cache(maxsize=4096)
def _envelope_heads(timestamp_size: int, body_size: int) -> tuple[bytes, bytes]:
    """What goes before the id and before the body: the same for all messages of a size."""
    body_head = _TAG_ENVELOPE_MESSAGE + _varint(body_size)
    size = _ENVELOPE_IDS_SIZE + len(_TAG_ENVELOPE_TIMESTAMP) + timestamp_size + len(body_head) + body_size
    frame_head = _TAG_FRAME_ENVELOPE + _varint(size)
    return rfc6455.head(rfc6455.BINARY_OPCODE, len(frame_head) + size) + frame_head + _TAG_ENVELOPE_ID, body_head


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
