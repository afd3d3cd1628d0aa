"""Frames that are put together from prebuilt bytes are what protobuf would have made."""

from uuid import uuid4

import pytest

from obscura.client import frames
from obscura.client.errors import ExchangeError
from obscura.client.websocket import frame
from obscura.v1.obscura_pb2 import AckMessage, EncryptedMessage, WebSocketFrame


def test_an_ack_is_an_ack() -> None:
    envelope_id = str(uuid4())
    made = WebSocketFrame(ack=AckMessage(message_id=envelope_id)).SerializeToString()
    assert frames.ack(envelope_id) == frame(made)


@pytest.mark.parametrize("size", [16, 127, 128, 16_383, 16_384, 100_000])
def test_a_message_is_a_message(size: int) -> None:
    """Its length is a varint, at the edges of one, two and three bytes."""
    content = bytes(size)
    made = EncryptedMessage(type=EncryptedMessage.TYPE_ENCRYPTED_MESSAGE, content=content).SerializeToString()
    assert frames.message_start(size) + content == made


def test_an_envelope_is_read_back() -> None:
    """What a relay would hand out, and what is no frame at all."""
    body = frames.message_start(5) + b"hello"
    assert frames.parse(frames.envelope(body)).envelope.message.content == b"hello"
    with pytest.raises(ExchangeError, match="no WebSocketFrame"):
        frames.parse(b"\xff")
