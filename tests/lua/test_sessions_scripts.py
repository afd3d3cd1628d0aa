import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID, uuid4

import pytest

from obscura.store import keyspace
from tests.support.scripts import ScriptRunner

RACE_MS = 10_000
TTL_MS = 60_000
ACCESS_TTL_MS = 30_000


@dataclass
class Login:
    """One session of an account, and the scripts as called for it."""

    scripts: ScriptRunner
    user_id: UUID = field(default_factory=uuid4)
    id: UUID = field(default_factory=uuid4)

    @property
    def key(self) -> str:
        return keyspace.session(self.user_id, self.id)

    @property
    def list_key(self) -> str:
        return keyspace.sessions(self.user_id)

    @property
    def channel(self) -> str:
        return keyspace.events(self.user_id)

    def create(self, token: str = "first", ttl_ms: int = TTL_MS, access_ttl_ms: int = ACCESS_TTL_MS) -> int:
        keys = [keyspace.account(self.user_id), self.list_key, self.key]
        return self.scripts.run("sessions_create", keys, [str(self.id), token, ttl_ms, access_ttl_ms])

    def refresh(self, presented: str, successor: str, ttl_ms: int = TTL_MS) -> bytes:
        outcome: bytes = self.exchange(presented, successor, ttl_ms)[0]
        return outcome

    def exchange(
        self, presented: str, successor: str, ttl_ms: int = TTL_MS, access_ttl_ms: int = ACCESS_TTL_MS
    ) -> list[Any]:
        """A refresh, with the time from which the new access token lives."""
        args = [str(self.id), presented, successor, ttl_ms, RACE_MS, access_ttl_ms]
        reply: list[Any] = self.scripts.run("sessions_refresh", [self.key, self.list_key], args)
        return reply

    def end(self) -> int:
        return self.scripts.run("sessions_end", [self.key, self.list_key, self.channel], [str(self.id), "PUBLISH"])

    def age(self, token: str, by_ms: int) -> None:
        """Move the exchange of a token into the past."""
        self.scripts.redis.hincrby(self.key, f"rotated:{token}", -by_ms)

    def state(self) -> tuple[bytes | None, bytes | None]:
        """All that a script may have changed."""
        redis = self.scripts.redis
        return redis.dump(self.key), redis.dump(self.list_key)

    @property
    def token(self) -> bytes | None:
        return self.scripts.redis.hget(self.key, "token")

    @property
    def access_until_ms(self) -> int | None:
        """The latest that an access token of the session expires, as far as it is noted."""
        noted = self.scripts.redis.hget(self.key, "access_expires_at")
        return noted and int(noted)

    @property
    def is_listed(self) -> bool:
        return self.scripts.redis.zscore(self.list_key, str(self.id)) is not None


@pytest.fixture
def login(scripts: ScriptRunner) -> Login:
    """A session with the refresh token ``first``, of an account that exists."""
    login = Login(scripts)
    scripts.redis.hset(keyspace.account(login.user_id), "username", "alice")
    assert login.create() > 0
    return login


@pytest.fixture
def heard(scripts: ScriptRunner) -> Iterator[Callable[[str], Callable[[], Any]]]:
    """``heard(channel)`` subscribes and returns a function that gives the next message of it."""
    with scripts.redis.pubsub(ignore_subscribe_messages=True) as subscriber:

        def subscribe(channel: str) -> Callable[[], Any]:
            subscriber.subscribe(channel)
            subscriber.get_message(timeout=5)  # the confirmation, which is ignored

            def following() -> Any:
                message = subscriber.get_message(timeout=5)
                assert message is not None
                return message["data"]

            return following

        yield subscribe


def now_ms() -> int:
    return int(time.time() * 1000)


def mark_ended(
    scripts: ScriptRunner, key: str, life_secs: int, *session_ids: str, last_secs: int = 0, is_guess: bool = False
) -> int:
    """List sessions, and return until which second the last is; a spare second is in it."""
    args = [life_secs, last_secs, 1, int(is_guess), "PUBLISH", *session_ids]
    redis_ms, entries = scripts.run("sessions_mark_ended", [key, key], args)
    assert abs(redis_ms - now_ms()) < 60_000
    assert entries[::2] == [session_id.encode() for session_id in session_ids]
    return int(entries[-1])


def test_create_lists_the_session(scripts: ScriptRunner, login: Login) -> None:
    """The session has its token and its time of birth, and is listed by the moment it expires."""
    assert scripts.redis.hget(login.key, "token") == b"first"
    assert abs(int(scripts.redis.hget(login.key, "created_at")) - now_ms()) < 60_000
    assert 0 < scripts.redis.pttl(login.key) <= TTL_MS
    assert 0 < scripts.redis.pttl(login.list_key) <= TTL_MS
    expiry_ms = scripts.redis.zscore(login.list_key, str(login.id))
    assert abs(expiry_ms - now_ms() - TTL_MS) < 60_000


def test_create_needs_the_account(scripts: ScriptRunner) -> None:
    """Without an account there is no session of it."""
    login = Login(scripts)
    assert login.create() == 0
    assert login.state() == (None, None)


def test_create_may_be_repeated(login: Login) -> None:
    """The same session once more is still one session with the same token."""
    assert login.create() > 0
    assert login.token == b"first"
    assert login.scripts.redis.zcard(login.list_key) == 1


def test_create_forgets_the_expired(scripts: ScriptRunner, login: Login) -> None:
    """Sessions that expired by themselves leave the list at the next login."""
    scripts.redis.zadd(login.list_key, {"long-gone": 1.0})
    assert Login(scripts, login.user_id).create() > 0
    assert scripts.redis.zscore(login.list_key, "long-gone") is None


@pytest.mark.parametrize("step", ["create", "refresh"])
def test_the_list_outlives_every_session_in_it(scripts: ScriptRunner, login: Login, step: str) -> None:
    """A session that was given a longer life, before the setting was changed, stays listed for all of it."""
    younger = Login(scripts, login.user_id)
    younger.create(ttl_ms=1000)
    if step == "refresh":
        assert younger.refresh("first", "second", ttl_ms=1000) == b"rotated"
    assert scripts.redis.pttl(login.list_key) > 1000


def test_refresh_exchanges_the_token(scripts: ScriptRunner, login: Login) -> None:
    """The successor is the token, the old one is remembered with the time, and the session lives anew."""
    assert login.refresh("first", "second", ttl_ms=2 * TTL_MS) == b"rotated"
    assert login.token == b"second"
    assert scripts.redis.hget(login.key, "rotated:first") == scripts.redis.hget(login.key, "rotated_at")
    assert scripts.redis.pttl(login.key) > TTL_MS
    assert scripts.redis.pttl(login.list_key) > TTL_MS
    assert scripts.redis.zscore(login.list_key, str(login.id)) > now_ms() + TTL_MS


def test_a_race_changes_nothing(login: Login) -> None:
    """The token of a moment ago with another successor is a race."""
    login.refresh("first", "second")
    before = login.state()
    assert login.refresh("first", "third") == b"raced"
    assert login.state() == before


def test_a_repeat_is_known_by_its_successor(login: Login) -> None:
    """The same exchange once more says that it happened, and changes nothing."""
    login.refresh("first", "second")
    before = login.state()
    assert login.refresh("first", "second") == b"retried"
    assert login.state() == before


def test_a_repeat_is_a_race_once_the_successor_was_exchanged(login: Login) -> None:
    """A successor that is no longer the token is not confirmed again."""
    login.refresh("first", "second")
    login.refresh("second", "third")
    assert login.refresh("first", "second") == b"raced"


@pytest.mark.parametrize("successor", ["second", "third"])
def test_an_old_token_is_reused(login: Login, successor: str) -> None:
    """A token exchanged longer ago than the race window is reported, whatever it is to become."""
    login.refresh("first", "second")
    login.age("first", RACE_MS + 1000)
    before = login.state()
    assert login.refresh("first", successor) == b"reused"
    assert login.state() == before


def test_a_token_just_inside_the_window_is_a_race(login: Login) -> None:
    """Nine of ten seconds later it is still two tabs."""
    login.refresh("first", "second")
    login.age("first", RACE_MS - 1000)
    assert login.refresh("first", "third") == b"raced"


def test_a_token_of_no_exchange_is_reused(login: Login) -> None:
    """A token that the session does not know is one from before what it remembers."""
    assert login.refresh("zeroth", "second") == b"reused"
    assert login.token == b"first"


def test_refresh_does_not_make_a_session(scripts: ScriptRunner) -> None:
    """There is no session to refresh: nothing is written."""
    login = Login(scripts)
    assert login.refresh("first", "second") == b"unknown"
    assert login.state() == (None, None)


def test_refresh_forgets_exchanges_past_the_window(scripts: ScriptRunner, login: Login) -> None:
    """However often a session is refreshed, it remembers the exchanges of the last seconds only."""
    login.refresh("first", "second")
    login.refresh("second", "third")
    login.age("first", RACE_MS + 1000)
    login.refresh("third", "fourth")
    remembered = {name for name in scripts.redis.hkeys(login.key) if name.startswith(b"rotated:")}
    assert remembered == {b"rotated:second", b"rotated:third"}


def test_end_removes_the_session(login: Login, heard: Callable[[str], Callable[[], Any]]) -> None:
    """The session leaves its key and the list, and the account's nodes hear which one it was."""
    other = Login(login.scripts, login.user_id)
    other.create()
    until_ms = login.access_until_ms
    following = heard(login.channel)
    assert login.end() == until_ms
    assert login.token is None
    assert not login.is_listed
    assert other.is_listed
    assert following() == f"session-ended {login.id}".encode()


def test_end_may_be_repeated(login: Login, heard: Callable[[str], Callable[[], Any]]) -> None:
    """Ending what has ended answers 0 and announces it again, in case the first announcement was lost."""
    login.end()
    following = heard(login.channel)
    assert login.end() == 0
    assert following() == f"session-ended {login.id}".encode()


def test_an_access_token_lives_by_the_time_of_redis(login: Login) -> None:
    """The script says from when, and the session notes when the token expires."""
    issued_ms = login.create()
    assert abs(issued_ms - now_ms()) < 60_000
    assert login.access_until_ms == issued_ms + ACCESS_TTL_MS
    _, issued_ms = login.exchange("first", "second")
    assert login.access_until_ms == issued_ms + ACCESS_TTL_MS


def test_the_latest_expiry_of_an_access_token_stands(login: Login) -> None:
    """A token that was given a longer life, before the setting was changed, counts on."""
    until_ms = login.access_until_ms
    assert until_ms is not None
    login.exchange("first", "second", access_ttl_ms=1000)
    assert login.access_until_ms == until_ms
    _, issued_ms = login.exchange("second", "third", access_ttl_ms=10 * ACCESS_TTL_MS)
    assert login.access_until_ms == issued_ms + 10 * ACCESS_TTL_MS
    assert login.end() == issued_ms + 10 * ACCESS_TTL_MS


def test_a_retry_gets_no_access_beyond_what_is_noted(login: Login) -> None:
    """Its token lives no longer than the first answer's, and under a shorter setting from now on."""
    _, issued_ms = login.exchange("first", "second")
    assert login.exchange("first", "second") == [b"retried", issued_ms]
    _, retried_ms = login.exchange("first", "second", access_ttl_ms=1000)
    assert issued_ms <= retried_ms < issued_ms + 10_000


def test_a_session_of_the_version_before_notes_nothing(login: Login) -> None:
    """Nobody knows when its first access tokens expire, so a refresh does not make it look known; the end says so."""
    login.scripts.redis.hdel(login.key, "access_expires_at")
    outcome, issued_ms = login.exchange("first", "second")
    assert outcome == b"rotated"
    assert abs(issued_ms - now_ms()) < 60_000
    assert login.exchange("first", "second")[0] == b"retried"
    assert login.access_until_ms is None
    assert login.end() == -1
    assert login.end() == 0


def test_mark_ended_lists_the_sessions(scripts: ScriptRunner, heard: Callable[[str], Callable[[], Any]]) -> None:
    """Each session is listed with the time until which it matters, and all are announced at once."""
    key, before_secs = f"test:{uuid4()}", scripts.redis.time()[0]
    following = heard(key)
    until_secs = mark_ended(scripts, key, 60, "one", "two")
    assert before_secs + 61 <= until_secs <= scripts.redis.time()[0] + 61
    assert scripts.redis.zrange(key, 0, -1, withscores=True) == [(b"one", until_secs), (b"two", until_secs)]
    assert following() == f"{until_secs} one two".encode()


def test_mark_ended_drops_what_no_longer_matters(scripts: ScriptRunner) -> None:
    """The list does not grow: entries whose time is over are removed."""
    key = f"test:{uuid4()}"
    scripts.redis.zadd(key, {"old": 1, "older": 0})
    mark_ended(scripts, key, 60, "one")
    assert scripts.redis.zrange(key, 0, -1) == [b"one"]


def test_mark_ended_gives_a_listed_session_the_new_time(scripts: ScriptRunner) -> None:
    """The last call decides until when a session is listed, be it later or earlier than before."""
    key = f"test:{uuid4()}"
    for life_secs in (60, 120, 90):
        assert scripts.redis.zscore(key, "one") != (latest := mark_ended(scripts, key, life_secs, "one"))
        assert scripts.redis.zscore(key, "one") == latest


def test_a_guess_changes_nothing_that_is_listed(
    scripts: ScriptRunner, heard: Callable[[str], Callable[[], Any]]
) -> None:
    """Sooner or later: only what is not listed is entered and announced; the answer tells what is in the list."""
    key = f"test:{uuid4()}"
    until_secs = mark_ended(scripts, key, 60, "one")
    following = heard(key)
    for life_secs in (5, 5000):
        assert mark_ended(scripts, key, life_secs, "one", is_guess=True) == until_secs
    later_secs = mark_ended(scripts, key, 5000, "one", "two", is_guess=True)
    assert later_secs > until_secs
    assert scripts.redis.zrange(key, 0, -1, withscores=True) == [(b"one", until_secs), (b"two", later_secs)]
    assert following() == f"{later_secs} two".encode()


@pytest.mark.parametrize("later_by_secs", [-100, 100])
def test_mark_ended_lists_until_the_last_token_has_expired(scripts: ScriptRunner, later_by_secs: int) -> None:
    """Today's lifetime is the least; a token that lives longer is waited for."""
    last_secs = scripts.redis.time()[0] + 1000
    until_secs = mark_ended(scripts, f"test:{uuid4()}", 1000 - later_by_secs, "one", last_secs=last_secs)
    assert abs(until_secs - last_secs - max(-later_by_secs, 0) - 1) <= 5


def test_the_list_comes_with_its_time(scripts: ScriptRunner) -> None:
    """All entries with their seconds, also of what is about to be dropped, and when that was."""
    key = f"test:{uuid4()}"
    scripts.redis.zadd(key, {"old": 1})
    scripts.redis.zadd(key, {"one": 2**33})
    redis_ms, entries = scripts.run("sessions_list_ended", [key])
    assert abs(redis_ms - now_ms()) < 60_000
    assert entries == [b"old", b"1", b"one", str(2**33).encode()]
