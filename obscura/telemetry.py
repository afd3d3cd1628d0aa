"""Logs and metrics.

Logs: a constant message and fields, as text or as one JSON object per line. Never in a
log: tokens, passwords, names, user ids, addresses, bodies, query strings. Metrics are
Prometheus's, with bounded labels that name no user.
"""

import json
import logging
import math
import sys
import time
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

from prometheus_client import Counter, Gauge

request_id: ContextVar[str] = ContextVar("request_id", default="")
"""The id of the request being served, in every log line written on its behalf."""

REQUESTS = Counter("obscura_http_requests_total", "HTTP requests answered.", ["route", "status"])
MESSAGES_SENT = Counter("obscura_messages_sent_total", "Messages stored in an inbox.")
MESSAGES_DELIVERED = Counter("obscura_messages_delivered_total", "Envelopes written to a socket.")
MESSAGES_ACKED = Counter("obscura_messages_acked_total", "Messages removed because their recipient acked them.")
MESSAGES_DROPPED = Counter("obscura_messages_dropped_total", "Messages removed for an inbox's limits or age by a send.")
MESSAGES_EXPIRED = Counter("obscura_messages_expired_total", "Messages removed by the clean-up because they expired.")
ATTACHMENT_BYTES_IN = Counter("obscura_attachment_bytes_in_total", "Bytes of attachments stored.")
ATTACHMENT_BYTES_OUT = Counter("obscura_attachment_bytes_out_total", "Bytes of attachments read for downloads.")
ATTACHMENTS_EXPIRED = Counter("obscura_attachments_expired_total", "Attachments and broken uploads cleaned up.")
FRAMES_IGNORED = Counter("obscura_gateway_frames_ignored_total", "Frames from clients that meant nothing.", ["reason"])
SOCKETS = Gauge("obscura_gateway_sockets", "Open gateway sockets.")
SOCKETS_CLOSED = Counter("obscura_gateway_sockets_closed_total", "Gateway sockets ended by the server.", ["reason"])
EVENT_GAPS = Counter("obscura_events_gaps_total", "Times this node was deaf to its events.")
PRE_KEYS_LOW = Counter("obscura_pre_keys_low_total", "Bundle fetches that took an account below the threshold.")
TAKEOVERS = Counter("obscura_takeovers_total", "Devices replaced.")
RATE_LIMITED = Counter("obscura_rate_limited_total", "Requests answered 429, by the limit they met.", ["tier"])
REFRESH_REUSED = Counter("obscura_refresh_reused_total", "Sessions ended because a refresh token was used again.")
PASSWORDS_WAITING = Gauge("obscura_password_hashes_waiting", "Password hashes waiting for a thread.")
PASSWORDS_REFUSED = Counter("obscura_password_hashes_refused_total", "Logins and registrations refused as too many.")

_STANDARD_FIELDS = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


def set_up_logging(level: str, format_name: str) -> None:
    """Log to stderr, from `level` on, as `text` or `json`."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if format_name == "json" else TextFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    # It warns of what clients write in their headers, and names their addresses.
    logging.getLogger("aiohttp.websocket").setLevel(logging.ERROR)


class Seldom(logging.Filter):
    """Lets a line through once per ``period_secs``, with the number of those held back before it.

    Args:
        message: The line's; others pass untouched.
        now: The clock, in seconds.
    """

    def __init__(self, message: str, period_secs: float, now: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._message = message
        self._period_secs = period_secs
        self._now = now
        self._next = -math.inf
        self._held_back = 0

    def filter(self, record: logging.LogRecord) -> bool:
        if record.msg != self._message:
            return True
        if self._now() < self._next:
            self._held_back += 1
            return False
        if self._held_back:
            record.held_back = self._held_back
        self._next = self._now() + self._period_secs
        self._held_back = 0
        return True


class TextFormatter(logging.Formatter):
    """``2026-01-31T12:00:00.000Z INFO obscura.node: started request_id=… key=value``."""

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
        return json.dumps(line, default=str)  # which, unlike orjson, writes any text, lone surrogates too


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    fields = {name: value for name, value in vars(record).items() if name not in _STANDARD_FIELDS}
    if request := request_id.get():
        fields["request_id"] = request
    return fields


def _timestamp(record: logging.LogRecord) -> str:
    seconds = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
    return f"{seconds}.{int(record.msecs):03d}Z"
