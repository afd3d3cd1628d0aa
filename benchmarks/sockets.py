"""What an idle authenticated socket costs, and what ten thousand of them do when they all come back."""

import threading
from typing import Any, Self

from benchmarks.generator import Found, attempt, bench
from benchmarks.processes import bare_server
from benchmarks.relays import Relay, logged_in, make_accounts, relay

_HELD_SECS = 3
_SAMPLE_SECS = 0.5


def idle(sockets: int, reconnects_per_sec: int) -> dict[str, Any]:
    """Each socket has an account and a session of its own; the bare server's have neither."""
    with bare_server() as reference:
        url, pid = f"http://127.0.0.1:{reference.port}", reference.pid
        bare = _run(sockets, "--reference", "--url", url, "--pid", pid)
    with relay(max_sockets=2 * sockets) as one, logged_in(one.redis, make_accounts(one.redis, sockets)) as accounts:
        given = (*one.urls, *one.pids, "--accounts", accounts)
        before_bytes = one.used_memory_bytes
        with _Peak(one) as peak:
            ours = _run(sockets, *given)
        reconnect = attempt("idle", *_shape(sockets), *given, "--rate", reconnects_per_sec)
    return {
        "ours": ours,
        "bare": bare,
        "reconnect": reconnect,
        "kib_per_socket": _kib_per_socket(ours),
        "bare_kib_per_socket": _kib_per_socket(bare),
        "redis_bytes_per_socket": (peak.bytes - before_bytes) / sockets,
    }


def _run(sockets: int, *options: object) -> Found:
    return bench("idle", *_shape(sockets), *options)


def _shape(sockets: int) -> tuple[object, ...]:
    shape = ("--sockets", sockets, "--users", sockets, "--concurrency", 64, "--duration", _HELD_SECS)
    return (*shape, "--processes", 1)


def _kib_per_socket(found: Found) -> float:
    server = found["servers"][0]
    return float(server["rss_after_kib"] - server["rss_before_kib"]) / int(found["operations"]["connect"]["count"])


class _Peak:
    """The most memory that Redis used during a block."""

    def __init__(self, of: Relay) -> None:
        self.bytes = 0
        self._relay = of
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._over.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._over.wait(_SAMPLE_SECS):
            self.bytes = max(self.bytes, self._relay.used_memory_bytes)
