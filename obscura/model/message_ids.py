"""A message's place in its inbox, and the UUID that clients know it by.

Layout of the UUID: RFC 9562 section 5.7 (UUIDv7).
"""

import re
from hashlib import blake2b
from typing import NamedTuple
from uuid import UUID

_UUID_TEXT = re.compile(rb"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
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
    """Turns the entry ids of one inbox into the UUIDs that its clients see, and back.

    The UUID is a UUIDv7 of the entry's milliseconds, 42 bits of a hash of the id of the
    inbox's owner and the entry's 32-bit sequence number. So an ack needs no index: a UUID
    of another inbox decodes to None.
    """

    __slots__ = ("_middle",)

    def __init__(self, address_id: UUID) -> None:
        digest = blake2b(address_id.bytes, digest_size=6, person=b"obscura-msgid").digest()
        hashed = int.from_bytes(digest, "big") >> (48 - _HASH_BITS)
        version = _VERSION_7 | hashed >> _LOW_HASH_BITS
        variant = _VARIANT | hashed & ((1 << _LOW_HASH_BITS) - 1)
        self._middle = b"-%04x-%04x-%04x" % (version, variant >> 16, variant & 0xFFFF)

    def encode(self, entry: EntryId) -> bytes:
        """The UUID of an entry, in its canonical text."""
        ms, seq = entry
        return b"%08x-%04x%b%08x" % (ms >> 16, ms & 0xFFFF, self._middle, seq)

    def decode(self, message_id: bytes) -> EntryId | None:
        """The entry that a UUID's text names, or None if it is no UUID or not of this inbox."""
        text = message_id.lower()
        if text[_MIDDLE] != self._middle or not _UUID_TEXT.fullmatch(text):
            return None
        return EntryId(int(text[:8] + text[9:13], 16), int(text[28:], 16))
