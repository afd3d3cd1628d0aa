"""What every process does alike: its event loop, its end by a signal, its limit of open files."""

import asyncio
import logging
import math
import resource
import signal
from collections.abc import Callable
from contextlib import suppress
from typing import Protocol

new_event_loop: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop
try:
    import uvloop
except ImportError:
    pass  # not made for this platform; asyncio's own loop is slower but does
else:
    new_event_loop = uvloop.new_event_loop

log = logging.getLogger(__name__)

STACK_DUMP_SIGNAL = signal.SIGUSR1
"""Has a worker write the stack of each of its threads, even while its event loop hangs."""

# The first three would end a process without a goodbye. The last one halts it when it writes to its terminal from the
# background, which it does without if the signal is ignored.
_IGNORED_SIGNALS = (signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGTTOU)

_MACOS_OPEN_FILES = 10_240  # OPEN_MAX, the most that setrlimit(2) takes there
_OTHER_FILES = 200  # open beside connections of clients: Redis, storage, logs
_REQUESTS_SHARE = 4  # of so many connections one is kept for requests,
_MAX_FOR_REQUESTS = 256  # or as many as this: requests are short


class Startable(Protocol):
    """What is started and stopped: a node, or the supervisor of its workers."""

    async def start(self) -> None:
        """Come up whole, or leave nothing running."""

    async def stop(self) -> None:
        """End in good order; may be repeated."""


def ignore_other_signals() -> None:
    """Let SIGINT and SIGTERM alone end this process, for they are the ones that `run_until_signalled` heeds.

    A terminal that goes and a tool that rotates logs send others, and mean no end.
    """
    for number in _IGNORED_SIGNALS:
        signal.signal(number, signal.SIG_IGN)


async def run_until_signalled(node: Startable, on_started: Callable[[], None]) -> None:
    """Start a node, run it until the first SIGINT or SIGTERM, and stop it.

    Raises:
        StartupError: It cannot start.
        CancelledError: A second signal came before it had stopped. The runner cancels
            what the stop still waits for.
    """
    task = asyncio.current_task()
    assert task is not None
    signalled = asyncio.Event()

    def on_signal() -> None:
        signalled.set()  # before Python 3.12 asyncio.wait_for, in libraries, may lose a cancellation while it starts
        task.cancel()

    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, on_signal)
    try:
        await node.start()
        on_started()
        await signalled.wait()
    except asyncio.CancelledError:
        task.uncancel()
    finally:
        await node.stop()


def raise_open_files_limit() -> None:
    """Take as many open files as the process may have; the default on most machines is 1024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for wanted in (hard, max(soft, _MACOS_OPEN_FILES)):
        with suppress(ValueError, OSError):  # macOS says that there is no limit, and refuses that as one
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            return


def room_for_connections() -> float:
    """How many connections of clients this process may have, as far as its limit of open files goes at this moment."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return math.inf if limit == resource.RLIM_INFINITY else max(limit // 2, limit - _OTHER_FILES)


def room_for_sockets() -> float:
    """How many of those may be sockets. They stay for days, so a part is kept for requests, whatever else is set."""
    room = room_for_connections()
    return room if room == math.inf else room - min(room // _REQUESTS_SHARE, _MAX_FOR_REQUESTS)


def log_few_open_files(max_sockets: int, is_wanted: bool) -> None:
    """Log it if this process may not open as many files as it may have sockets, which are fewer then.

    Args:
        is_wanted: Somebody set this number and is warned; else it is only the default, and nothing is wrong.
    """
    room = room_for_sockets()
    if room >= max_sockets:
        return
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    numbers = {"limit": limit, "needed": max_sockets + _MAX_FOR_REQUESTS + _OTHER_FILES, "sockets": int(room)}
    if is_wanted:
        log.warning(
            "the limit of open files is too low for OBSCURA_MAX_SOCKETS: raise it (ulimit -n, LimitNOFILE)",
            extra=numbers,
        )
    else:
        log.info("the limit of open files leaves room for fewer sockets than OBSCURA_MAX_SOCKETS", extra=numbers)
