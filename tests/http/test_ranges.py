"""RFC 9110 section 14: which part of an attachment a Range header asks for."""

import pytest

from obscura.errors import RangeNotSatisfiable
from obscura.http.ranges import ByteRange, parse_range

SIZE = 1000


@pytest.mark.parametrize(
    ("header", "first", "count"),
    [
        ("bytes=0-0", 0, 1),
        ("bytes=0-499", 0, 500),
        ("bytes=500-999", 500, 500),
        ("bytes=999-", 999, 1),
        ("bytes=0-", 0, 1000),
        ("bytes=-1", 999, 1),
        ("bytes=-1000", 0, 1000),
        ("bytes=-5000", 0, 1000),
        ("bytes=10-99999999999999999999", 10, 990),
        (" Bytes=1-2 ", 1, 2),
    ],
)
def test_a_single_range_is_a_part(header: str, first: int, count: int) -> None:
    """From to, from on, and the last so many; what goes past the end ends there."""
    assert parse_range(header, SIZE) == ByteRange(first, count, SIZE)


@pytest.mark.parametrize("header", ["bytes=1000-", "bytes=1000-2000", "bytes=-0", "bytes=99999999999999999999-"])
def test_a_range_beyond_the_end_cannot_be_satisfied(header: str) -> None:
    """The error says where the end is."""
    with pytest.raises(RangeNotSatisfiable) as caught:
        parse_range(header, SIZE)
    assert caught.value.total_bytes == SIZE


@pytest.mark.parametrize("header", ["bytes=0-", "bytes=-1", "bytes=0-0"])
def test_nothing_has_no_part(header: str) -> None:
    """No range of an empty attachment can be satisfied."""
    with pytest.raises(RangeNotSatisfiable):
        parse_range(header, 0)


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "bytes",
        "bytes=",
        "bytes=-",
        "bytes=5-2",
        "bytes=a-b",
        "bytes=0-1,5-6",
        "bytes=0x1-0x2",
        "bytes=--1",
        "bytes=1-2-3",
        "bytes=٣-٤",
        "items=0-1",
        "bytes=" + "9" * 5000 + "-",
    ],
)
def test_what_is_no_single_range_means_the_whole(header: str | None) -> None:
    """Absent, malformed, several or in another unit: the header is ignored."""
    assert parse_range(header, SIZE) is None


def test_a_part_says_where_it_lies() -> None:
    """Content-Range counts from 0 and names the last byte."""
    assert ByteRange(500, 500, SIZE).content_range == "bytes 500-999/1000"
