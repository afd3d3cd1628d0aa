"""Frames of the gateway as a client sees them: messages and acks are put together from prebuilt bytes."""

from uuid import uuid4

from google.protobuf.message import DecodeError

from obscura.client.errors import ExchangeError
from obscura.client.websocket import frame
from obscura.v1.obscura_pb2 import EncryptedMessage, Envelope, WebSocketFrame

_ACK_START = b"\x5a\x26\x0a\x24"  # WebSocketFrame: field 11 of 38 bytes; AckMessage: field 1 of 36, a UUID's text
_MESSAGE_START = b"\x08\x02\x12"  # EncryptedMessage: field 1, type 2; field 2, content


def ack(envelope_id: str) -> bytes:
    """A WebSocket frame that acknowledges an envelope, ready to be written."""
    return frame(_ACK_START + envelope_id.encode())


def message_start(content_bytes: int) -> bytes:
    """What comes before the content in the body of a message."""
    return _MESSAGE_START + varint(content_bytes)


def envelope(message_body: bytes) -> bytes:
    """A frame that hands out a message, as a relay builds it; to be sent to a server that sends it back."""
    built = Envelope(id=str(uuid4()), source_user_id=str(uuid4()), timestamp=1 << 40)
    built.message.CopyFrom(EncryptedMessage.FromString(message_body))
    return WebSocketFrame(envelope=built).SerializeToString()


def parse(payload: bytes) -> WebSocketFrame:
    """A frame of the gateway; `ExchangeError` if it is none."""
    try:
        return WebSocketFrame.FromString(payload)
    except DecodeError:
        raise ExchangeError("frame is no WebSocketFrame") from None


def varint(number: int) -> bytes:
    """A whole number from 0 as protobuf writes it."""
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)
