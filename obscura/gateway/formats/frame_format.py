"""What a socket is given at its start to write messages and to read acks in the frames of its client's API."""

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol
from uuid import UUID

from obscura.model.message_ids import EntryId

Envelope = tuple[bytes, bytes, int, bytes]  # the arguments of `FrameFormat.envelope`


class FrameFormat(Protocol):
    """The frames of one inbox in one API; nothing else of the gateway knows which.

    Message ids are bytes as they stand in frames, and mean nothing to others. What is written
    are WebSocket messages, ready for the socket; what is read is the payload of a binary one.
    """

    def message_id(self, entry: EntryId) -> bytes:
        """The id under which a client sees a message."""

    def entry_of(self, message_id: bytes) -> EntryId | None:
        """The place that an id names; None if it is no id of this inbox."""

    def envelope(self, message_id: bytes, sender: bytes, timestamp_ms: int, body: bytes) -> bytes:
        """One message. ``sender`` is as the inbox has it, ``body`` goes out untouched."""

    def envelopes(self, envelopes: Iterable[Envelope]) -> bytes:
        """Several messages, in as few frames as the format has for them."""

    def pre_key_status(self, count: int, threshold: int) -> bytes:
        """That so many one-time pre-keys are left, fewer than there should be."""

    def acked(self, frame: bytes) -> Sequence[bytes]:
        """All message ids of an ack, in the spelling of `message_id`; none for another payload or garbage."""


MakeFormat = Callable[[UUID], FrameFormat]  # of the address whose inbox it is
