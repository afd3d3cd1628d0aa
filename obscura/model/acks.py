"""An ack: what a client says it has, and the server may remove."""

from typing import NamedTuple

from obscura.model.message_ids import EntryId


class Ack(NamedTuple):
    """An acknowledged message of an inbox; the same on the whole way from a frame to Redis.

    Attributes:
        entry: Its place in the inbox.
        body_bytes: The size of its body, which spares Redis the look; None if the socket that acks was not sent it.
    """

    entry: EntryId
    body_bytes: int | None
