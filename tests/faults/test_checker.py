"""The checker sees what is wrong with a history, and nothing wrong with one that is right."""

from tests.faults import checker
from tests.faults.history import (
    Attempt,
    History,
    Judgement,
    KeyTaken,
    Outcome,
    Seen,
    Sent,
    SessionLife,
    SocketLife,
)

ALICE, BOB = "alice", "bob"
SESSION = "session"


def sent(number: int, at: float, *outcomes: Outcome, to: str = BOB, keyed: bool = False) -> Sent:
    """A message with an attempt for each outcome, half a second each, the first at a time."""
    attempts = [
        Attempt("node1", at + index, at + index + 0.5, outcome, 201 if outcome is Outcome.STORED else 0)
        for index, outcome in enumerate(outcomes or (Outcome.STORED,))
    ]
    return Sent(number, ALICE, to, keyed, attempts)


def history(*messages: Sent, seen: list[Seen], sockets: list[SocketLife] | None = None) -> History:
    return History(
        sent={message.number: message for message in messages},
        seen=seen,
        sockets={life.number: life for life in sockets or [socket(1)]},
    )


def seen(number: int, place: int | None = None, socket: int = 1, at: float = 10.0, by: str = BOB) -> Seen:
    """An envelope; its place in the inbox is its number unless told."""
    return Seen(socket, by, f"id-{number if place is None else place:03d}", number, at)


def socket(
    number: int, opened: float = 0.0, ended: float | None = None, *, acked: str = "", clean: bool = True
) -> SocketLife:
    return SocketLife(
        number, BOB, "node1", opened, opened, opened, 101, ended, is_left=clean, is_flushed=clean, acked={acked}
    )


def judged(accepted: bool, asked: float) -> Judgement:
    return Judgement(SESSION, asked, asked + 0.1, accepted)


def test_a_history_in_which_all_went_well_has_no_faults() -> None:
    """Stored, seen in order, acked, and not seen again on the next socket."""
    sockets = [socket(1, 0, 20, acked="id-001"), socket(2, 21)]
    good = history(sent(1, 0), sent(2, 1), seen=[seen(1), seen(2), seen(2, socket=2, at=22)], sockets=sockets)
    assert checker.faults(good) == []


def test_a_message_with_a_201_that_nobody_saw_is_lost() -> None:
    """One that was refused is not."""
    bad = history(sent(1, 0), sent(2, 1, Outcome.REFUSED), sent(3, 2, Outcome.UNKNOWN), seen=[])
    assert checker.lost(bad) == ["1 messages with a 201 were lost: 1"]
    assert checker.number_lost(bad) == 1


def test_a_message_seen_by_somebody_else_only_is_lost_and_misplaced() -> None:
    """Both are said."""
    bad = history(sent(1, 0), seen=[seen(1, by="carol")])
    assert checker.lost(bad)
    assert checker.misplaced(bad) == ["1 messages came to somebody else: 1"]


def test_an_envelope_that_nobody_sent_is_made_up() -> None:
    """One of an earlier round is left over."""
    bad = history(sent(2, 0), seen=[seen(1), seen(2), seen(3)])
    bad.first_number = 2
    assert checker.made_up(bad) == ["1 messages were never sent: 3"]


def test_a_later_envelope_before_an_earlier_one_is_out_of_order() -> None:
    """On one socket; another may begin anew."""
    messages = sent(1, 0), sent(2, 0)
    assert checker.out_of_order(history(*messages, seen=[seen(2), seen(1)]))
    assert not checker.out_of_order(
        history(*messages, seen=[seen(2), seen(1, socket=2)], sockets=[socket(1), socket(2)])
    )


def test_a_message_stored_behind_one_that_was_sent_after_its_201_is_out_of_order() -> None:
    """Those under way at the same time may be stored in either order."""
    swapped = [seen(2, place=1), seen(1, place=2)]
    assert checker.out_of_order(history(sent(1, 0), sent(2, 1), seen=swapped))
    assert not checker.out_of_order(history(sent(1, 0), sent(2, 0.2), seen=swapped))
    assert not checker.out_of_order(history(sent(1, 0, to="carol"), sent(2, 1), seen=swapped))


def test_a_copy_that_was_stored_late_is_in_order_if_another_was_stored_in_time() -> None:
    """Each of the two copies of a message that was sent twice counts for the other."""
    twice = sent(1, 0, Outcome.UNKNOWN, Outcome.STORED)
    assert not checker.out_of_order(history(twice, sent(2, 3), seen=[seen(1), seen(2, place=2), seen(1, place=3)]))


def test_an_envelope_twice_on_one_connection_is_a_repetition() -> None:
    """On two it is a redelivery, which may be right."""
    assert checker.repeated_on_a_connection(history(sent(1, 0), seen=[seen(1), seen(1)]))
    assert not checker.repeated_on_a_connection(history(sent(1, 0), seen=[seen(1), seen(1, socket=2)]))


def test_a_message_with_a_key_is_stored_once_whatever_its_attempts() -> None:
    """Without a key each attempt that got to the server may store another."""
    attempts = (Outcome.UNKNOWN, Outcome.NOT_SENT, Outcome.STORED)
    copies = [seen(1, place=1), seen(1, place=2)]
    assert not checker.stored_too_often(history(sent(1, 0, *attempts), seen=copies))
    assert checker.stored_too_often(history(sent(1, 0, *attempts, keyed=True), seen=copies))
    assert checker.stored_too_often(history(sent(1, 0, *attempts), seen=[*copies, seen(1, place=3)]))


def test_an_envelope_whose_ack_was_flushed_is_not_to_come_again() -> None:
    """On a socket opened after the first one had closed in order."""
    again = [seen(1), seen(1, socket=2, at=30)]
    bad = history(sent(1, 0), seen=again, sockets=[socket(1, 0, 20, acked="id-001"), socket(2, 21)])
    assert checker.redelivered(bad) == ["socket 2 got message 1, whose ack was flushed"]


def test_an_ack_that_was_not_flushed_promises_nothing() -> None:
    """The socket broke, or the other was open already, or Redis was away."""
    again = [seen(1), seen(1, socket=2, at=30)]
    broke = [socket(1, 0, 20, acked="id-001", clean=False), socket(2, 21)]
    assert not checker.redelivered(history(sent(1, 0), seen=again, sockets=broke))
    overlapping = [socket(1, 0, 20, acked="id-001"), socket(2, 19)]
    assert not checker.redelivered(history(sent(1, 0), seen=again, sockets=overlapping))
    away = history(sent(1, 0), seen=again, sockets=[socket(1, 0, 20, acked="id-001"), socket(2, 21)])
    away.outages.append((15.0, 20.5))
    assert not checker.redelivered(away)


def test_what_a_failover_may_have_undone_is_no_fault() -> None:
    """An ack, an attempt that was refused although the message was seen, and the order in which that was."""
    acked = history(
        sent(1, 0),
        seen=[seen(1, at=10), seen(1, at=15), seen(1, socket=2, at=30)],
        sockets=[socket(1, 0, 20, acked="id-001"), socket(2, 21)],
    )
    refused = history(
        sent(1, 9, Outcome.REFUSED, Outcome.STORED, keyed=True),
        seen=[seen(1, place=7, at=10), seen(1, place=6, at=15)],
    )
    for undone in (acked, refused):
        assert len(checker.faults(undone)) == 2
        undone.undone.append((9.0, 11.0))
        assert checker.faults(undone) == []


def test_losses_are_counted_by_kind() -> None:
    """A session that was refused twice is lost once."""
    lossy = history(sent(1, 0), seen=[])
    lossy.keys += [KeyTaken(BOB, "key", 1), KeyTaken(BOB, "key", 2)]
    lossy.sessions[SESSION] = SessionLife(0)
    lossy.judgements += [judged(False, 5), judged(False, 6)]
    assert checker.losses(lossy) == {
        "messages lost": 1,
        "acks lost": 0,
        "one-time keys given twice": 1,
        "sessions lost": 1,
    }


def test_a_one_time_key_is_given_once() -> None:
    """Two accounts may have the same."""
    assert checker.keys_given_twice(History(keys=[KeyTaken(BOB, "key", 1), KeyTaken(BOB, "key", 2)]))
    assert not checker.keys_given_twice(History(keys=[KeyTaken(BOB, "key", 1), KeyTaken(ALICE, "key", 2)]))


def test_a_session_refused_before_its_end_is_wrongly_dead() -> None:
    """Once somebody has asked for its end, either answer is right."""
    alive = History(sessions={SESSION: SessionLife(0)}, judgements=[judged(False, 5)])
    assert checker.wrongly_dead(alive) == ["a living session was refused 1 times"]
    ending = History(sessions={SESSION: SessionLife(0, end_asked=4.9, ended=6)}, judgements=[judged(False, 5)])
    assert not checker.wrongly_dead(ending)


def test_a_session_accepted_after_its_end_is_wrongly_alive() -> None:
    """The other nodes have a moment to hear of it."""
    life = {SESSION: SessionLife(0, end_asked=4, ended=5)}
    assert checker.wrongly_alive(History(sessions=life, judgements=[judged(True, 6.5)]))
    assert not checker.wrongly_alive(History(sessions=life, judgements=[judged(True, 5.5), judged(False, 7)]))


def test_an_answer_that_is_neither_201_nor_503_is_wrong() -> None:
    """Whatever happens to Redis or to a node."""
    bad = history(sent(1, 0, Outcome.WRONG), sent(2, 0, Outcome.REFUSED), seen=[])
    assert checker.wrong_answers(bad) == ["1 messages were answered 0"]
    assert len(checker.failed(bad)) == 2


def test_a_201_while_nothing_could_be_stored_is_noticed() -> None:
    """One that was asked for before, or answered after, may be right."""
    early, within, late = sent(1, 0.8), sent(2, 2), sent(3, 3.8)
    bad = history(early, within, late, seen=[])
    assert checker.accepted_between(bad, 1, 4) == ["1 messages got a 201 while Redis was away: 2"]


def test_a_slow_refusal_is_noticed() -> None:
    """Each attempt here takes half a second."""
    slow = history(sent(1, 0, Outcome.REFUSED), seen=[])
    assert checker.slow_refusals(slow, 0.4)
    assert not checker.slow_refusals(slow, 0.6)
    assert checker.slowest_answer(slow) == 0.5


def test_a_wait_counts_from_the_201_or_from_the_end_of_the_fault() -> None:
    """To the first time that the message is seen."""
    waited = history(sent(1, 0), seen=[seen(1, at=12), seen(1, socket=2, at=20)])
    assert checker.longest_wait(waited, 0) == 11.5
    assert checker.longest_wait(waited, 10) == 2


def test_a_socket_that_ended_by_itself_was_cut() -> None:
    """One that its client left was not."""
    both = [socket(1, 0, 5), socket(2, 0, 5, clean=False), socket(3, 0)]
    assert checker.cut(history(seen=[], sockets=both)) == ["1 sockets were cut"]


def test_a_return_counts_from_the_first_node_that_was_tried() -> None:
    """To the upgrade at the last."""
    life = socket(1, 5)
    life.reconnecting = 3.5
    assert checker.slowest_return(history(seen=[], sockets=[life])) == 1.5


def test_a_recovery_is_over_when_every_node_has_stored_again() -> None:
    """A node that never does has not recovered."""
    back = history(sent(1, 0), sent(2, 7), seen=[])
    assert checker.slowest_recovery(back, 5, ["node1"]) == 2.5
    assert checker.slowest_recovery(back, 5, ["node1", "node2"]) == float("inf")
