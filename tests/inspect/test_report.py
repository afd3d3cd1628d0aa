"""How `obscura inspect` shows what it found."""

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

import pytest

from obscura.inspect.report import as_json, as_table

MOMENT = datetime(2026, 3, 4, 5, 6, 7, 8000, UTC)
ID = UUID("01020304-0506-4708-890a-0b0c0d0e0f10")


@dataclass(frozen=True, slots=True)
class Record:
    id: UUID
    user_name: str
    seen_at: datetime | None
    total_bytes: int
    open_secs: int
    confirmed: bool


ONE = Record(ID, "alice", MOMENT, 1536, 3661, True)
ANOTHER = Record(ID, "bob", None, 12, 0, False)


def test_a_record_is_shown_field_by_field() -> None:
    """One line each: moments in UTC, sizes and durations in units, yes and no."""
    assert as_table(ONE).splitlines() == [
        f"id         {ID}",
        "user name  alice",
        "seen       2026-03-04 05:06:07 UTC",
        "total      1.5 KiB",
        "open       1 h 1 min",
        "confirmed  yes",
    ]


def test_records_are_shown_in_columns() -> None:
    """One line each under a heading; a dash for what is not there."""
    heading, first, second = as_table([ONE, ANOTHER]).splitlines()
    assert heading.split() == ["id", "user", "name", "seen", "total", "open", "confirmed"]
    assert first.index("alice") == second.index("bob") == heading.index("user name")
    assert second.split()[2:] == ["-", "12", "bytes", "0", "s", "no"]


def test_nothing_is_said_to_be_nothing() -> None:
    """An empty list is a word for eyes and a list for scripts."""
    assert as_table([]) == "none"
    assert json.loads(as_json([])) == []


def test_json_has_plain_values() -> None:
    """Field names in full, ISO times, numbers without units, null."""
    one, another = json.loads(as_json([ONE, ANOTHER]))
    assert one == {
        "id": str(ID),
        "user_name": "alice",
        "seen_at": "2026-03-04T05:06:07.008Z",
        "total_bytes": 1536,
        "open_secs": 3661,
        "confirmed": True,
    }
    assert another["seen_at"] is None
    assert json.loads(as_json(ONE)) == one


@pytest.mark.parametrize("name", ["\N{RIGHT-TO-LEFT OVERRIDE}ecila", "a\x1b[2Jb"])
def test_a_name_does_not_steer_the_terminal(name: str) -> None:
    """What cannot be printed is shown by its code."""
    shown = as_table(Record(ID, name, None, 0, 0, False))
    assert name not in shown
    assert "\\" in shown


@pytest.mark.parametrize(
    ("count", "shown"), [(0, "0 bytes"), (1023, "1023 bytes"), (2**20, "1.0 MiB"), (5 * 2**40, "5.0 TiB")]
)
def test_sizes_have_a_fitting_unit(count: int, shown: str) -> None:
    """From bytes up to TiB."""
    assert f"total      {shown}\n" in as_table(Record(ID, "", None, count, 0, False))
