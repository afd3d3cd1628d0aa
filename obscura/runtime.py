"""What every process does alike: its event loop, its end by a signal, its limit of open files."""

import asyncio
import logging
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

_OTHER_FILES = 200  # open beside one per socket: other requests, Redis, logs


class Startable(Protocol):
    """What is started and stopped: a node, or the supervisor of its workers."""

    async def start(self) -> None:
        """Come up whole, or leave nothing running."""

    async def stop(self) -> None:
        """End in good order; may be repeated."""


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
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):  # macOS says that there is no limit, and refuses that as one
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def warn_of_few_open_files(max_sockets: int) -> None:
    """Log a warning if this process may not open as many files as it may have sockets."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit != resource.RLIM_INFINITY and limit < max_sockets + _OTHER_FILES:
        log.warning(
            "the limit of open files is too low for OBSCURA_MAX_SOCKETS: raise it (ulimit -n, LimitNOFILE)",
            extra={"limit": limit, "needed": max_sockets + _OTHER_FILES},
        )
