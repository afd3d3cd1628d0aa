"""Standard input, output and error of a process that serves: always open, and never waited for.

Whoever reads what a process says may stop reading, and the disk behind it may be full. The
process goes on all the same: what cannot be written is thrown away, counted, and told of.
"""

import io
import os
import select
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from obscura.observability.metrics.process import LOG_LINES_DROPPED

_MAX_WAITING_BYTES = 2**20
_MAX_WRITE_BYTES = 4096  # PIPE_BUF on Linux: what processes write into one pipe at once is not mixed up to here
_CLOSE_SECS = 1.0


def open_standard_descriptors() -> None:
    """Open /dev/null for each of the descriptors 0 to 2 that is closed.

    Else the next file or socket would take its place, where everybody writes, and libuv aborts
    when it is to close such a one. Children inherit them.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # gets the lowest number that is free: this one
    for number, name in ((1, "stdout"), (2, "stderr")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, "w", encoding="utf-8", errors="backslashreplace", closefd=False))  # noqa: SIM115


class BackgroundStream(io.TextIOBase):
    """A text stream whose `write` neither waits nor fails: a thread of its own writes to the descriptor.

    Up to 1 MiB waits while the descriptor takes nothing. What is more, and what the
    descriptor refuses, is dropped by whole writes and counted in lines.

    Args:
        number: The descriptor.
        encoding: Of the text; what it lacks is escaped.
    """

    def __init__(self, number: int, encoding: str) -> None:
        self.notice: Callable[[int], str] | None = None  # the line that tells how many lines were dropped before it
        self.lines_dropped = 0
        self._number, self._encoding = number, encoding
        self._waiting: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._changed = threading.Condition()  # its lock may be taken again, as by a finalizer that logs
        self._thread: threading.Thread | None = None
        self._is_ending = False
        self._lines_untold = 0
        self._is_line_torn = False

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return self._number

    def write(self, text: str) -> int:
        """Take a text, and return at once."""
        data = text.encode(self._encoding, "backslashreplace")
        with self._changed:
            if self._is_ending or self._waiting_bytes + len(data) > _MAX_WAITING_BYTES:
                self._drop(data)
                return len(text)
            self._waiting.append(data)
            self._waiting_bytes += len(data)
            if self._thread is None:
                self._thread = threading.Thread(target=self._write_all, name=f"descriptor {self._number}", daemon=True)
                self._thread.start()
            self._changed.notify()
        return len(text)

    def end(self) -> None:
        """Write what waits, for as long as that takes no more than a second; what comes later is dropped."""
        with self._changed:
            self._is_ending = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join(_CLOSE_SECS)

    def _write_all(self) -> None:
        while data := self._next():
            try:
                self._write(data)
            except OSError:  # no room, or nobody at the other end
                with self._changed:
                    self._drop(data)
            with self._changed:
                self._waiting_bytes -= len(data)

    def _next(self) -> bytes:
        """Wait for texts, and return as many whole ones as may be written at once; empty: this is the end."""
        with self._changed:
            while not self._waiting and not self._is_ending:
                self._changed.wait()
            data = b""
            while self._waiting and (not data or len(data) + len(self._waiting[0]) <= _MAX_WRITE_BYTES):
                data += self._waiting.popleft()
            return data

    def _write(self, data: bytes) -> None:
        """Write it all, below a line that says how much was dropped before.

        Raises:
            OSError: It was not written, or not all of it.
        """
        untold = self._lines_untold
        if untold and self.notice is not None:
            self._write_bytes(self.notice(untold).encode(self._encoding, "backslashreplace"))
            with self._changed:
                self._lines_untold -= untold
        self._write_bytes(data)

    def _write_bytes(self, data: bytes) -> None:
        rest = memoryview(b"\n" + data if self._is_line_torn else data)
        while rest:
            try:
                written = os.write(self._number, rest)
            except BlockingIOError:  # another process that has it open made it so
                waiter = select.poll()
                waiter.register(self._number, select.POLLOUT)
                waiter.poll()
                continue
            rest = rest[written:]
            self._is_line_torn = bool(rest)

    def _drop(self, data: bytes) -> None:
        lines = data.count(b"\n")
        self.lines_dropped += lines
        self._lines_untold += lines
        LOG_LINES_DROPPED.inc(lines)


@contextmanager
def unblocked_output() -> Iterator[None]:
    """In it sys.stdout and sys.stderr neither block nor fail. At its end what waits has a second to be written."""
    before = sys.stdout, sys.stderr
    streams = [BackgroundStream(number, stream.encoding or "utf-8") for number, stream in enumerate(before, 1)]
    sys.stdout, sys.stderr = streams
    try:
        yield
    finally:
        sys.stdout, sys.stderr = before
        for stream in streams:
            stream.end()
