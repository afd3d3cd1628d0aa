"""Whether what is to be sent is a message that its recipient can read."""

from google.protobuf.message import DecodeError

from obscura.v1.obscura_pb2 import EncryptedMessage


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
