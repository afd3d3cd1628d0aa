"""The body of a send: an EncryptedMessage, which travels to its recipient as it is."""

from google.protobuf.message import DecodeError

from obscura.errors import BadRequest
from obscura.v1.obscura_pb2 import EncryptedMessage


def check_encrypted_message(body: bytes) -> None:
    """Whether what is to be sent is a message that its recipient can read.

    Raises:
        BadRequest: It is no EncryptedMessage, or has no content.
    """
    try:
        if not has_content(body):
            raise BadRequest("content is empty")
    except ValueError as error:
        raise BadRequest("The body is not a valid EncryptedMessage") from error


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
