"""What a node remembers of sessions that have ended."""

from uuid import uuid4

from obscura.services.ended_sessions import SKEW_ALLOWANCE_SECS, EndedSessions


def test_a_session_has_ended_once_it_is_entered() -> None:
    """And no other has."""
    ended, session_id = EndedSessions(), uuid4()
    assert session_id not in ended
    ended.add({session_id: 2**40})
    assert session_id in ended
    assert uuid4() not in ended


def test_what_matters_no_longer_is_dropped_now_and_then() -> None:
    """By a later entry, and not at each: there may be very many."""
    now_secs = 1000.0
    ended, old, lasting, late = EndedSessions(lambda: now_secs), uuid4(), uuid4(), uuid4()
    ended.add({old: 1001, lasting: 9999})
    now_secs += SKEW_ALLOWANCE_SECS
    ended.add({late: 1002})
    assert old in ended
    now_secs += 1
    ended.add({})
    assert [session_id in ended for session_id in (old, late, lasting)] == [False, False, True]


def test_a_later_word_counts() -> None:
    """A session that is entered again matters until the new time."""
    now_secs = 1000.0
    ended, session_id = EndedSessions(lambda: now_secs), uuid4()
    ended.add({session_id: 1001})
    ended.add({session_id: 5000})
    now_secs = 4000.0
    ended.add({})
    assert session_id in ended
