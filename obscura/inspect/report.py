"""Answers as an operator reads them: tables for eyes, JSON for scripts.

An answer is a dataclass, or a list of them. The names of its fields say how a value is
shown: ``_bytes`` as a size, ``_secs`` as a duration, a moment in UTC.
"""

import json
from collections.abc import Sequence
from dataclasses import Field, asdict
from datetime import datetime
from typing import Any, ClassVar, Protocol
from uuid import UUID

from obscura.observability.terminal import escape


class Record(Protocol):
    """A dataclass."""

    __dataclass_fields__: ClassVar[dict[str, Field[Any]]]


Answer = Record | Sequence[Record]

_GAP = "  "
_SIZE_UNITS = ("bytes", "KiB", "MiB", "GiB", "TiB")
_DURATION_UNITS = (("d", 86_400), ("h", 3600), ("min", 60), ("s", 1))


def as_json(answer: Answer) -> str:
    """One JSON value: times in ISO 8601, sizes in bytes, durations in seconds, null for what is not there."""
    value = [asdict(record) for record in answer] if isinstance(answer, Sequence) else asdict(answer)
    return json.dumps(value, default=_to_json, indent=2)


def as_table(answer: Answer) -> str:
    """A record one field per line, a list one record per line under a heading."""
    if not isinstance(answer, Sequence):
        return _align([[_label(name), _format_value(name, value)] for name, value in asdict(answer).items()])
    if not answer:
        return "none"
    rows = [asdict(record) for record in answer]
    return _align([[*map(_label, rows[0])], *([_format_value(name, row[name]) for name in row] for row in rows)])


def _align(rows: list[list[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = (_GAP.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)


def _label(name: str) -> str:
    for suffix in ("_at", "_bytes", "_secs"):
        name = name.removesuffix(suffix)
    return name.replace("_", " ")


def _format_value(name: str, value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S} UTC"
    if name.endswith("_bytes"):
        return _format_size(value)
    if name.endswith("_secs"):
        return _format_duration(value)
    return escape(str(value))


def _format_size(count: float) -> str:
    for unit in _SIZE_UNITS:
        if count < 1024 or unit == _SIZE_UNITS[-1]:
            break
        count /= 1024
    return f"{count:.0f} {unit}" if unit == _SIZE_UNITS[0] else f"{count:.1f} {unit}"


def _format_duration(secs: int) -> str:
    parts = []
    for unit, length in _DURATION_UNITS:
        count, secs = divmod(secs, length)
        if count:
            parts.append(f"{count} {unit}")
    return " ".join(parts[:2]) or "0 s"


def _to_json(value: object) -> str:
    if isinstance(value, datetime):
        return value.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    assert isinstance(value, UUID), value
    return str(value)
