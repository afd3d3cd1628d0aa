"""What a process says where nobody reads it, or where there is no room: it goes on, and says later what is missing."""

import fcntl
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from obscura.observability.metrics.process import LOG_LINES_DROPPED
from obscura.observability.standard_streams import BackgroundStream
from tests.support.waiting import eventually

LINE = "x" * 99 + "\n"


@contextmanager
def stream_on(number: int) -> Iterator[BackgroundStream]:
    stream = BackgroundStream(number, "utf-8")
    try:
        yield stream
    finally:
        stream.end()


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    """Both ends of a pipe, closed at the end."""
    ends = os.pipe()
    yield ends
    for end in ends:
        os.close(end)


def read_all(reader: int) -> str:
    """All that is in a pipe whose other end is closed."""
    with os.fdopen(os.dup(reader), encoding="utf-8") as file:
        return file.read()


def dropped_in_metrics() -> float:
    return float(LOG_LINES_DROPPED._value.get())


def test_texts_are_written_in_order_and_whole(pipe: tuple[int, int]) -> None:
    """What waits at the end is written, too."""
    reader, _ = pipe
    writer = os.dup(pipe[1])
    with stream_on(writer) as stream:
        for number in range(500):
            print("line", number, "é\ud800", file=stream)
    os.close(writer)
    os.write(pipe[1], b"end")
    lines = os.read(reader, 65_536).decode().splitlines()
    assert lines == [*(f"line {number} é\\ud800" for number in range(500)), "end"]


async def test_where_nobody_reads_a_write_returns_and_the_loss_is_told(pipe: tuple[int, int]) -> None:
    """A bounded amount waits. The rest is counted, and the next line that is read after it says how many they were."""
    reader, writer = pipe
    before = dropped_in_metrics()
    stream = BackgroundStream(os.dup(writer), "utf-8")
    stream.notice = lambda lines: f"{lines} dropped\n"
    for _ in range(20_000):  # 2 MB into 64 KiB of pipe and 1 MiB that may wait
        stream.write(LINE)
    assert 8_000 < stream.lines_dropped < 10_000
    assert dropped_in_metrics() - before == stream.lines_dropped
    read = []

    def is_told() -> bool:
        read.append(os.read(reader, 2**20).decode())
        return " dropped\n" in "".join(read)

    await eventually(is_told)
    stream.write("after\n")
    await eventually(lambda: (read.append(os.read(reader, 2**20).decode()), "after\n" in "".join(read))[1])
    stream.end()
    os.close(stream.fileno())
    lines = "".join(read).splitlines(keepends=True)
    assert lines.count(LINE) + stream.lines_dropped == 20_000
    assert lines[-1] == "after\n"
    assert [line for line in lines if line.endswith("dropped\n")] == [f"{stream.lines_dropped} dropped\n"]


@pytest.mark.skipif(sys.platform != "linux", reason="/dev/full")
async def test_a_full_disk_ends_nothing() -> None:
    """What finds no room is counted."""
    number = os.open("/dev/full", os.O_WRONLY)
    with stream_on(number) as stream:
        stream.write("one\ntwo\n")
        await eventually(lambda: stream.lines_dropped == 2)
        stream.write("three\n")
        await eventually(lambda: stream.lines_dropped == 3)
    os.close(number)


async def test_a_reader_that_is_gone_ends_nothing() -> None:
    """What nobody can read any more is counted."""
    reader, writer = os.pipe()
    os.close(reader)
    with stream_on(writer) as stream:
        stream.write("one\n")
        await eventually(lambda: stream.lines_dropped == 1)
    os.close(writer)


async def test_a_line_that_was_cut_short_is_ended_before_the_next(tmp_path: Path) -> None:
    """So the first line after a loss can be read, too."""
    import resource

    number = os.open(tmp_path / "log", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with stream_on(number) as stream:
        resource.setrlimit(resource.RLIMIT_FSIZE, (10, hard))
        try:
            stream.write("longer than ten\n")
            await eventually(lambda: stream.lines_dropped == 1)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        stream.write("next\n")
    os.close(number)
    assert (tmp_path / "log").read_text() == "longer tha\nnext\n"


def test_a_descriptor_that_does_not_wait_is_waited_for(pipe: tuple[int, int]) -> None:
    """Another process may have made it so; what is written is not lost to that."""
    reader, writer = pipe
    os.set_blocking(writer, False)
    if sys.platform == "linux":
        fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, 4096)
    stream = BackgroundStream(writer, "utf-8")
    for _ in range(1000):
        stream.write(LINE)
    read = b""
    while len(read) < 1000 * len(LINE):
        read += os.read(reader, 4096)
    stream.end()
    assert read.decode() == LINE * 1000
    assert stream.lines_dropped == 0
