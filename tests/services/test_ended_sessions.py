"""What a node remembers of sessions that have ended."""

from dataclasses import dataclass
from uuid import uuid4

from obscura.clock import SharedClock
from obscura.services.ended_sessions import EndedSessions

LEAST_SECS = 100
START = 1_700_000_000


@dataclass
class Time:
    """Redis's clock, which can be set, and the age of the process, which cannot."""

    elapsed: float = 5000.0

    def __post_init__(self) -> None:
        self.clock = SharedClock(lambda: START, lambda: self.elapsed)
        self.ended = EndedSessions(self.clock, LEAST_SECS)

    def set_redis(self, ahead_secs: float) -> None:
        self.clock.hear(self.clock() + ahead_secs, self.elapsed)

    def pass_by(self, secs: float) -> None:
        """Time goes by, and a session ends: entries that no longer matter are dropped by that."""
        self.elapsed += secs
        self.ended.add({uuid4(): int(self.clock()) + 1})


def test_a_session_has_ended_once_it_is_entered() -> None:
    """And no other has."""
    ended, session_id = Time().ended, uuid4()
    assert session_id not in ended
    ended.add({session_id: 2**40})
    assert session_id in ended
    assert uuid4() not in ended


def test_what_matters_no_longer_is_dropped_now_and_then() -> None:
    """By a later entry, and not at each: there may be very many."""
    time, old, lasting = Time(), uuid4(), uuid4()
    time.ended.add({old: START + 110, lasting: START + 9999})
    time.pass_by(109)
    assert old in time.ended
    time.pass_by(2)
    assert old in time.ended
    time.pass_by(60)
    assert [session_id in time.ended for session_id in (old, lasting)] == [False, True]


def test_an_entry_is_kept_as_long_as_tokens_of_this_node_live() -> None:
    """Whatever the node that ended the session took for the time, or for the life of a token."""
    time, session_id = Time(), uuid4()
    time.ended.add({session_id: START - 300})
    time.pass_by(LEAST_SECS - 1)
    assert session_id in time.ended
    time.pass_by(61)
    assert session_id not in time.ended


def test_a_later_word_counts() -> None:
    """A session that is entered again matters until the new time."""
    time, session_id = Time(), uuid4()
    time.ended.add({session_id: START + 200})
    time.ended.add({session_id: START + 5000})
    time.pass_by(4000)
    assert session_id in time.ended


def test_a_clock_that_is_ahead_for_a_while_lets_nothing_be_forgotten() -> None:
    """Set ahead by an hour and back: what was entered for ten minutes stays for ten."""
    time, session_id = Time(), uuid4()
    time.ended.add({session_id: START + 600})
    time.set_redis(3600)
    time.pass_by(300)
    time.set_redis(-3600)
    assert session_id in time.ended
    time.pass_by(400)
    assert session_id not in time.ended


def test_a_clock_that_is_set_back_keeps_what_still_matters() -> None:
    """Tokens live longer by it, and so do the entries."""
    time, session_id = Time(), uuid4()
    time.ended.add({session_id: START + 600})
    time.set_redis(-300)
    time.pass_by(700)
    assert session_id in time.ended
    time.pass_by(300)
    assert session_id not in time.ended
