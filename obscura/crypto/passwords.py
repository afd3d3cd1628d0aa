"""Passwords: argon2id in a bounded pool of threads, never on the event loop."""

import asyncio
import contextlib
import os
import sys
import threading
import unicodedata
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from secrets import token_bytes
from time import perf_counter
from typing import Any, TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import VerificationError, VerifyMismatchError

from obscura import errors
from obscura.observability.metrics.accounts import PASSWORD_SECONDS, PASSWORDS_RUNNING, PASSWORDS_WAITING
from obscura.settings.division import default_threads
from obscura.settings.model import Settings

T = TypeVar("T")

# The least that OWASP's password storage page recommends for argon2id.
_ARGON2_MEMORY_KIB = 19 * 1024
_ARGON2_PASSES = 2
_ARGON2_LANES = 1
_CORRUPT_HASH = "A stored password hash is corrupt"

# No password has more code points, however its letters are composed: its UTF-8 has 1024 bytes at most.
# Beyond it a login would have the time of putting marks in order, which grows with their square.
_MAX_NORMALISED_LENGTH = 2048

_WAITING_PER_WORKER = 40  # about a second's work

# On the 40-step scale of `nice`: about a tenth of the CPU share of the event loop.
_NICENESS = 10


class BoundedPool:
    """Threads for work that keeps a CPU busy, and a limit on how much may wait for them.

    To be used from one event loop.
    """

    def __init__(self, workers: int, max_waiting: int) -> None:
        self._threads = ThreadPoolExecutor(workers, "password", initializer=_lower_priority)
        self._workers = workers
        self._places = workers + max_waiting
        # Jobs leave from their own threads; adding to a set and discarding from it are atomic.
        self._jobs: set[Future[Any]] = set()
        self._waits, self._runs = PASSWORD_SECONDS.labels("wait"), PASSWORD_SECONDS.labels("run")

    @property
    def waiting(self) -> int:
        """How many jobs there are beyond one for each thread."""
        return max(0, len(self._jobs) - self._workers)

    @property
    def running(self) -> int:
        """How many jobs have a thread."""
        return min(len(self._jobs), self._workers)

    async def run(self, job: Callable[[], T]) -> T:
        """Run ``job`` in a thread and return its result.

        Safe to cancel: a job that has begun runs on and keeps its place until it ends, as
        its thread is not free before; one that has not begun never does.

        Raises:
            TooManyLogins: Every place is taken; nothing was started.
        """
        if len(self._jobs) >= self._places:
            raise errors.TooManyLogins("Too many logins at once, try again in a moment", retry_after_secs=1)
        submitted = perf_counter()
        future = self._threads.submit(_timed, job)
        self._jobs.add(future)
        future.add_done_callback(self._jobs.discard)
        begun, ended, result = await asyncio.wrap_future(future)
        self._waits.observe(begun - submitted)
        self._runs.observe(ended - begun)
        return result

    def close(self) -> None:
        """Stop the threads; blocks until the jobs that have begun end. Idempotent.

        Call it when no caller is left: one that still waits is cancelled.
        """
        self._threads.shutdown(cancel_futures=True)


def _timed(job: Callable[[], T]) -> tuple[float, float, T]:
    """Run a job; with its result return when it began and ended."""
    begun = perf_counter()
    result = job()
    return begun, perf_counter(), result


def _lower_priority() -> None:
    # Messages are to flow during a flood of logins. Linux alone gives each thread its own
    # niceness; elsewhere this would slow down the event loop too.
    if sys.platform == "linux":
        thread_id = threading.get_native_id()
        # A sandbox may forbid it; then the pool's bounds are all the protection there is.
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, thread_id, os.getpriority(os.PRIO_PROCESS, thread_id) + _NICENESS)


class Passwords:
    """Hashes and checks passwords with argon2id, never on the event loop.

    Each takes 19 MiB and some 20 ms of a CPU: ``workers`` bounds both, ``max_waiting``
    bounds how long the last one waits. `hash` and `verify` raise `TooManyLogins` past that.
    """

    def __init__(self, workers: int, max_waiting: int) -> None:
        self._hasher = PasswordHasher(_ARGON2_PASSES, _ARGON2_MEMORY_KIB, _ARGON2_LANES)
        self._dummy_hash = self._hasher.hash(token_bytes())
        self._pool = BoundedPool(workers, max_waiting)

    @property
    def waiting(self) -> int:
        """How many logins and registrations wait for a thread."""
        return self._pool.waiting

    @property
    def running(self) -> int:
        """How many are being hashed at this moment."""
        return self._pool.running

    async def hash(self, password: str) -> str:
        """Return what to store for ``password``: parameters, salt and hash of its normal form in one text."""
        return await self._pool.run(lambda: self._hasher.hash(_password_bytes(normalise(password))))

    async def verify(self, password: str, stored_hash: str | None) -> bool:
        """Tell whether ``password`` is the one that was stored, as it was sent or in its normal form.

        As it was sent it matches a hash that was stored before passwords were normalised. Both forms are
        checked if they differ, whatever the first check said: so the time taken tells of the text alone.
        None stands for an unknown user: False, at the price of a wrong password, so that
        the time taken does not tell which usernames exist.

        Raises:
            ObscuraError: ``stored_hash`` is corrupt. Not False, which would tell an owner
                that the right password is wrong.
        """
        known_hash = self._dummy_hash if stored_hash is None else stored_hash
        matches = await self._pool.run(lambda: [self._matches(form, known_hash) for form in _forms(password)])
        return any(matches) and stored_hash is not None

    def needs_rehash(self, stored_hash: str) -> bool:
        """Tell whether ``stored_hash`` was made with parameters other than today's. Cheap.

        Raises:
            ObscuraError: ``stored_hash`` is corrupt.
        """
        try:
            return self._hasher.check_needs_rehash(stored_hash)
        except ValueError as error:
            raise errors.ObscuraError(_CORRUPT_HASH) from error

    def close(self) -> None:
        """Stop the threads, once no caller is left. Idempotent."""
        self._pool.close()

    def _matches(self, password: str, stored_hash: str) -> bool:
        secret = _password_bytes(password)
        try:
            return self._hasher.verify(stored_hash, secret)
        except VerifyMismatchError:
            return False
        except (VerificationError, ValueError) as error:
            raise errors.ObscuraError(_CORRUPT_HASH) from error


def normalise(password: str) -> str:
    """The same text for a password however a keyboard composes its letters and writes its spaces.

    These are the rules of OpaqueString (RFC 8265 section 4.2.2). The characters that its class leaves out are
    kept, control characters among them: accounts were made with them.
    """
    if password.isascii():
        return password
    spaced = "".join(" " if unicodedata.category(character) == "Zs" else character for character in password)
    return unicodedata.normalize("NFC", spaced)


def make_passwords(settings: Settings) -> Passwords:
    """The threads that hash passwords; the caller closes them."""
    workers = settings.password_workers or default_threads()
    passwords = Passwords(workers, workers * _WAITING_PER_WORKER)
    PASSWORDS_WAITING.set_function(lambda: passwords.waiting)
    PASSWORDS_RUNNING.set_function(lambda: passwords.running)
    return passwords


def _forms(password: str) -> set[str]:
    """The texts to look for: as it was sent, and its normal form."""
    return {password} if len(password) > _MAX_NORMALISED_LENGTH else {password, normalise(password)}


def _password_bytes(password: str) -> bytes:
    # A lone surrogate has no UTF-8; passing it on makes every text a password.
    return password.encode("utf-8", "surrogatepass")
