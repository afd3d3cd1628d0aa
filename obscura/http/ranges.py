"""The Range header of a download (RFC 9110 section 14)."""

import re
from dataclasses import dataclass

from obscura.errors import RangeNotSatisfiable

_MAX_DIGITS = 30  # more is no position in anything we hold, and Python reads only so many
_SINGLE_RANGE = re.compile(rf"bytes=([0-9]{{0,{_MAX_DIGITS}}})-([0-9]{{0,{_MAX_DIGITS}}})", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class ByteRange:
    """A part of ``total_bytes``: ``count`` bytes from ``first`` on."""

    first: int
    count: int
    total_bytes: int

    @property
    def content_range(self) -> str:
        """The Content-Range header of a 206."""
        return f"bytes {self.first}-{self.first + self.count - 1}/{self.total_bytes}"


def parse_range(header: str | None, total_bytes: int) -> ByteRange | None:
    """The part a Range header asks for; None means the whole.

    Several ranges, another unit or a malformed header count as none, as the RFC allows.

    Raises:
        RangeNotSatisfiable: Well formed, but beyond the end.
    """
    found = _SINGLE_RANGE.fullmatch(header.strip()) if header else None
    if found is None or found[1] == found[2] == "":
        return None
    if found[1] == "":
        count = min(int(found[2]), total_bytes)
        first = total_bytes - count
    else:
        first = int(found[1])
        last = int(found[2]) if found[2] else first + total_bytes
        if last < first:
            return None
        count = min(last + 1, total_bytes) - first
    if count <= 0:
        raise RangeNotSatisfiable("The range lies beyond the end", total_bytes)
    return ByteRange(first, count, total_bytes)
