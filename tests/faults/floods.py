"""Clients without manners. Each works in a thread of its own, so that what it does delays no measurement."""

import socket
import time
from collections import Counter
from collections.abc import Iterable
from contextlib import suppress

from obscura.client.websocket import new_key, upgrade_request

_TIMEOUT_SECS = 10.0
_POLL_SECS = 0.1


def connected(port: int) -> socket.socket:
    """A connection on which nothing was said yet."""
    return socket.create_connection(("127.0.0.1", port), _TIMEOUT_SECS)


def said(port: int, words: bytes) -> socket.socket:
    """A connection on which this was said, and no answer read."""
    connection = connected(port)
    connection.sendall(words)
    return connection


def answered(port: int, request: bytes) -> socket.socket:
    """A connection that has an answer, and is kept."""
    connection = said(port, request)
    _read_head(connection)
    return connection


def upgraded(port: int, token: str) -> socket.socket:
    """A gateway socket."""
    connection = said(port, upgrade_request("relay", f"/v1/gateway?token={token}", new_key()))
    status, _ = _read_head(connection)
    assert status == 101, status
    return connection


def pour(connection: socket.socket, data: bytes, length_secs: float) -> int:
    """Send the same bytes again and again, and read nothing; returns how many of them were taken.

    Ends sooner if the other side ends the connection.
    """
    connection.settimeout(_POLL_SECS)
    end, view, sent = time.monotonic() + length_secs, memoryview(data), 0
    with connection, suppress(ConnectionError):
        while time.monotonic() < end:
            with suppress(TimeoutError):
                sent += connection.send(view[sent % len(data) :])
    return sent


def answers(port: int, requests: Iterable[bytes], length_secs: float) -> Counter[int]:
    """Send requests in turn, each on a connection of its own; returns how often each status came, 0 for none.

    A 429 without Retry-After counts as none.
    """
    end, statuses, waiting = time.monotonic() + length_secs, Counter[int](), list(requests)
    while time.monotonic() < end:
        for request in waiting:
            statuses[_answer(port, request)] += 1
    return statuses


def _answer(port: int, request: bytes) -> int:
    with connected(port) as connection:
        with suppress(ConnectionError):  # it may have answered before it had read all
            connection.sendall(request)
        try:
            status, head = _read_head(connection)
        except ConnectionError:
            return 0
    return 0 if status == 429 and b"\r\nretry-after:" not in head.lower() else status


def _read_head(connection: socket.socket) -> tuple[int, bytes]:
    head = b""
    while b"\r\n\r\n" not in head:
        data = connection.recv(4096)
        if not data:
            raise ConnectionResetError("no answer")
        head += data
    return int(head.split(b" ", 2)[1]), head
