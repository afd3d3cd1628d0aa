import asyncio
import os
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import argon2
import pytest

from obscura import errors
from obscura.crypto.passwords import BoundedPool, Passwords

pytestmark = [pytest.mark.libraries, pytest.mark.real_passwords]


class Gate:
    """A job that says when it has begun and then blocks its thread until the gate opens."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._open = threading.Event()
        self.begun = asyncio.Event()

    def job(self) -> str:
        self._loop.call_soon_threadsafe(self.begun.set)
        self._open.wait()
        return "done"

    def open(self) -> None:
        self._open.set()


async def begin(pool: BoundedPool, job: Callable[[], Any]) -> "asyncio.Task[Any]":
    """Start a call of ``run`` and come back when it has taken its place or been refused."""
    task = asyncio.create_task(pool.run(job))
    turned = asyncio.Event()
    asyncio.get_running_loop().call_soon(turned.set)
    await turned.wait()
    return task


@pytest.fixture
async def gate() -> AsyncIterator[Gate]:
    gate = Gate()
    yield gate
    gate.open()


@pytest.fixture
async def pool(gate: Gate) -> AsyncIterator[BoundedPool]:
    """One thread and one place to wait. Opens the gate at the end, whatever a test did."""
    pool = BoundedPool(workers=1, max_waiting=1)
    yield pool
    gate.open()
    pool.close()


@pytest.fixture(scope="module")
def passwords() -> Iterator[Passwords]:
    passwords = Passwords(workers=2, max_waiting=20)
    yield passwords
    passwords.close()


async def test_a_job_runs_in_another_thread(pool: BoundedPool) -> None:
    """The event loop's own thread never does the work."""
    assert await pool.run(threading.get_ident) != threading.get_ident()


@pytest.mark.skipif(sys.platform != "linux", reason="threads have no priority of their own")
async def test_the_threads_give_way_to_the_event_loop(pool: BoundedPool) -> None:
    """Pool threads have a lower priority than the loop's, whose own stays as it was."""

    def own_niceness() -> int:
        return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    before = own_niceness()
    assert await pool.run(own_niceness) == min(19, before + 10)
    assert own_niceness() == before


async def test_what_does_not_fit_is_refused_at_once(pool: BoundedPool, gate: Gate) -> None:
    """With the thread busy and the place to wait taken, the next caller gets Unavailable."""
    running, waiting = await begin(pool, gate.job), await begin(pool, gate.job)
    assert pool.waiting == 1
    with pytest.raises(errors.Unavailable, match="Too many logins") as refusal:
        await pool.run(gate.job)
    assert refusal.value.retry_after_secs >= 1
    gate.open()
    assert [await running, await waiting] == ["done", "done"]


async def test_places_are_free_again_when_jobs_end(pool: BoundedPool, gate: Gate) -> None:
    """A full pool that has done its work takes as many callers as before."""
    gate.open()
    for _ in range(5):
        assert list(await asyncio.gather(pool.run(gate.job), pool.run(gate.job))) == ["done", "done"]
        assert pool.waiting == 0


async def test_a_failed_job_gives_its_place_back(pool: BoundedPool) -> None:
    """The caller sees the job's own error, and the pool takes the next."""
    for _ in range(5):
        with pytest.raises(ZeroDivisionError):
            await pool.run(lambda: 1 // 0)
    assert await pool.run(lambda: "fine") == "fine"


async def test_a_cancelled_caller_keeps_the_place_of_a_running_job(pool: BoundedPool, gate: Gate) -> None:
    """The thread is not free before the job ends, so neither is the place."""
    abandoned = await begin(pool, gate.job)
    await gate.begun.wait()
    abandoned.cancel()
    with pytest.raises(asyncio.CancelledError):
        await abandoned
    waiting = await begin(pool, gate.job)
    with pytest.raises(errors.Unavailable):
        await pool.run(gate.job)
    gate.open()
    await waiting
    assert list(await asyncio.gather(pool.run(gate.job), pool.run(gate.job))) == ["done", "done"]


async def test_a_cancelled_caller_frees_the_place_of_a_waiting_job(pool: BoundedPool, gate: Gate) -> None:
    """A job that has not begun never runs, and the next caller takes its place at once."""
    ran: list[str] = []
    running = await begin(pool, gate.job)
    await gate.begun.wait()
    abandoned = await begin(pool, lambda: ran.append("abandoned"))
    abandoned.cancel()
    with pytest.raises(asyncio.CancelledError):
        await abandoned
    assert pool.waiting == 0
    waiting = await begin(pool, lambda: ran.append("next"))
    gate.open()
    await asyncio.gather(running, waiting)
    assert ran == ["next"]


async def test_closing_twice_is_fine() -> None:
    """A second close does nothing; the pool stays closed."""
    pool = BoundedPool(workers=1, max_waiting=0)
    pool.close()
    pool.close()
    with pytest.raises(RuntimeError):
        await pool.run(lambda: "too late")


async def test_a_hash_has_the_recommended_parameters(passwords: Passwords) -> None:
    """argon2id with 19 MiB, two passes, one lane; a salt makes each hash different."""
    first, second = await asyncio.gather(passwords.hash("same password"), passwords.hash("same password"))
    assert first.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert first != second


@pytest.mark.parametrize(
    "password",
    [
        "correct horse battery",
        "пароль из букв",
        "🔑" * 12,
        "nul\0in the middle",
        "\0" * 12,
        "lone \ud800 surrogate",
        "x" * 1024,
    ],
    ids=ascii,
)
async def test_only_the_same_password_verifies(passwords: Passwords, password: str) -> None:
    """Any text is a password; every character of it counts."""
    stored_hash = await passwords.hash(password)
    assert await passwords.verify(password, stored_hash)
    assert not await passwords.verify(password + "\0", stored_hash)
    assert not await passwords.verify(password[:-1], stored_hash)


COMPOSED, DECOMPOSED = "Käse à la crème", "Ka\u0308se a\u0300 la cre\u0300me"
SAME_TEXTS = [
    (COMPOSED, DECOMPOSED),
    ("correct horse battery", "correct\u3000horse\u00a0battery"),
    ("\u212bngstr\u00f6m \u2126hm", "\u00c5ngstro\u0308m \u03a9hm"),
    (
        "\ud55c\uad6d\uc5b4 \uc554\ud638",
        "\u1112\u1161\u11ab\u1100\u116e\u11a8\u110b\u1165\u3000\u110b\u1161\u11b7\u1112\u1169",
    ),
]


@pytest.mark.parametrize(("one", "other"), SAME_TEXTS, ids=ascii)
async def test_a_password_is_the_same_however_it_is_composed(passwords: Passwords, one: str, other: str) -> None:
    """Letters composed or not and any kind of space: what is typed on one keyboard verifies what another typed."""
    for stored, typed in ((one, other), (other, one)):
        assert await passwords.verify(typed, await passwords.hash(stored))


@pytest.mark.parametrize(
    ("stored", "typed"),
    [
        ("Correct Horse", "correct horse"),
        ("\uff21\uff22 full width", "AB full width"),
        ("\ufb01ve ligatures", "five ligatures"),
    ],
    ids=ascii,
)
async def test_what_only_looks_alike_is_another_password(passwords: Passwords, stored: str, typed: str) -> None:
    """OpaqueString folds neither case nor width nor compatibility characters (RFC 8265 section 4.2.2)."""
    assert not await passwords.verify(typed, await passwords.hash(stored))


async def test_a_hash_of_the_text_as_it_was_sent_still_verifies(passwords: Passwords) -> None:
    """Those that were stored before passwords were normalised are of the bytes that the client sent."""
    stored_before = argon2.PasswordHasher.from_parameters(argon2.profiles.CHEAPEST).hash(DECOMPOSED)
    assert await passwords.verify(DECOMPOSED, stored_before)
    assert not await passwords.verify(COMPOSED, stored_before)


async def test_the_work_depends_on_the_text_alone(passwords: Passwords, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two hashes for a text that is not in its normal form, be it right in either, wrong or nobody's."""
    before = argon2.PasswordHasher.from_parameters(argon2.profiles.CHEAPEST).hash(DECOMPOSED)
    hashes = [before, await passwords.hash(COMPOSED), await passwords.hash("another password"), None]
    verified: list[str] = []
    matches = passwords._matches
    monkeypatch.setattr(passwords, "_matches", lambda text, known: verified.append(text) or matches(text, known))
    for password, forms in ((DECOMPOSED, [COMPOSED, DECOMPOSED]), (COMPOSED, [COMPOSED])):
        for stored_hash in hashes:
            await passwords.verify(password, stored_hash)
            assert sorted(verified) == sorted(forms)
            verified.clear()


async def test_a_text_of_marks_costs_no_more_than_another(passwords: Passwords) -> None:
    """Putting them in order would take minutes; nobody's password is as long, so it is not tried."""
    async with asyncio.timeout(20):
        assert not await passwords.verify("a" + "\u0301\u0323" * 250_000, None)


async def test_an_unknown_user_takes_the_same_work_as_a_wrong_password(passwords: Passwords) -> None:
    """Without a stored hash the answer is no, after a check against a hash of the same parameters."""
    assert not await passwords.verify("wrong password", None)
    stored_hash = await passwords.hash("correct horse battery")
    assert argon2.extract_parameters(passwords._dummy_hash) == argon2.extract_parameters(stored_hash)


@pytest.mark.parametrize(
    "stored_hash",
    ["", "no hash", "$argon2id$v=19$m=19456,t=2,p=1$c2FsdA", "$2b$12$abcdefghijklmnopqrstuv", "$argon2id$hâsh"],
)
async def test_a_corrupt_hash_is_an_error(passwords: Passwords, stored_hash: str) -> None:
    """Damage in the store is reported as such, not as a wrong password."""
    with pytest.raises(errors.ObscuraError, match="corrupt"):
        await passwords.verify("correct horse battery", stored_hash)
    with pytest.raises(errors.ObscuraError, match="corrupt"):
        passwords.needs_rehash(stored_hash)


async def test_a_hash_with_other_parameters_needs_a_rehash(passwords: Passwords) -> None:
    """An older hash still verifies, yet is to be replaced; a fresh one is not."""
    old_hash = argon2.PasswordHasher.from_parameters(argon2.profiles.CHEAPEST).hash("correct horse battery")
    assert await passwords.verify("correct horse battery", old_hash)
    assert passwords.needs_rehash(old_hash)
    assert not passwords.needs_rehash(await passwords.hash("correct horse battery"))


async def test_a_login_flood_is_refused() -> None:
    """More logins at once than threads or places get Unavailable; the others get their answer."""
    passwords = Passwords(workers=1, max_waiting=2)
    outcomes = await asyncio.gather(*(passwords.verify("wrong", None) for _ in range(10)), return_exceptions=True)
    assert outcomes[:3] == [False] * 3
    assert all(isinstance(outcome, errors.Unavailable) for outcome in outcomes[3:])
    assert passwords.waiting == 0
    passwords.close()
