"""Log lines: a constant message and fields, as text or as one JSON object per line.

Never in a log: tokens, passwords, names, user ids, addresses, bodies, query strings.
"""

import json
import logging
import math
import secrets
import sys
import time
from collections.abc import Callable
from contextvars import ContextVar
from functools import partial
from itertools import count
from typing import Any
from uuid import uuid4

from obscura.observability.standard_streams import BackgroundStream

request_id: ContextVar[str] = ContextVar("request_id", default="")
"""The id of the request being served, in every log line written on its behalf."""


def _random_prefix() -> str:
    """The first half of a UUID of version 8 (RFC 9562 section 5.8), random for each process."""
    random_uuid = str(uuid4())
    return f"{random_uuid[:14]}8{random_uuid[15:24]}"


_PROCESS_PREFIX = _random_prefix()
_REQUEST_NUMBERS = count(secrets.randbits(47))


def new_request_id() -> str:
    """A UUID that nobody had before: random bits of this process, then a running number."""
    return f"{_PROCESS_PREFIX}{next(_REQUEST_NUMBERS):012x}"


trace_id: ContextVar[str] = ContextVar("trace_id", default="")
"""The trace that the request belongs to, in the same lines; empty while there are no traces."""

_STANDARD_FIELDS = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


def set_up_logging(level: str, format_name: str) -> None:
    """Log to stderr, from `level` on, as `text` or `json`."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if format_name == "json" else TextFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    if isinstance(sys.stderr, BackgroundStream):
        sys.stderr.notice = partial(_lines_dropped, handler)
    # aiohttp's warnings here quote clients' headers and name their addresses.
    logging.getLogger("aiohttp.websocket").setLevel(logging.ERROR)


def _lines_dropped(handler: logging.Handler, lines: int) -> str:
    """The line, written as all others, that tells of lines that are missing before it."""
    fields = {"name": __name__, "levelno": logging.WARNING, "levelname": "WARNING", "msg": "log lines were dropped"}
    record = logging.makeLogRecord({**fields, "dropped": lines})
    handler.filter(record)
    return f"{handler.format(record)}\n"


class ThrottleFilter(logging.Filter):
    """Lets a line through once per ``period_secs``. It then has ``held_back``, the number of lines stopped since.

    Args:
        message: The message of the line; lines with another one pass.
        now: The clock, in seconds.
    """

    def __init__(self, message: str, period_secs: float, now: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._message = message
        self._period_secs = period_secs
        self._now = now
        self._next_at = -math.inf
        self._held_back = 0

    def filter(self, record: logging.LogRecord) -> bool:
        if record.msg != self._message:
            return True
        if self._now() < self._next_at:
            self._held_back += 1
            return False
        if self._held_back:
            record.held_back = self._held_back
        self._next_at = self._now() + self._period_secs
        self._held_back = 0
        return True


class TextFormatter(logging.Formatter):
    """``2026-01-31T12:00:00.000Z INFO obscura.node.node: started request_id=… key=value``."""

    def format(self, record: logging.LogRecord) -> str:
        fields = "".join(f" {name}={value!r}" for name, value in _fields(record).items())
        message = record.getMessage().replace("\r", "\\r").replace("\n", "\\n")  # one entry, one line
        line = f"{_timestamp(record)} {record.levelname} {record.name}: {message}{fields}"
        return line if record.exc_info is None else f"{line}\n{self.formatException(record.exc_info)}"


class JsonFormatter(logging.Formatter):
    """One JSON object per line: time, level, logger, message, then the fields."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": _timestamp(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **_fields(record),
        }
        if record.exc_info is not None:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)  # unlike orjson it writes lone surrogates


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    fields = {name: value for name, value in vars(record).items() if name not in _STANDARD_FIELDS}
    if request := request_id.get():
        fields["request_id"] = request
    if trace := trace_id.get():
        fields["trace_id"] = trace
    return fields


def _timestamp(record: logging.LogRecord) -> str:
    seconds = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
    return f"{seconds}.{int(record.msecs):03d}Z"
