"""Reads a history and names the promises that were broken: pure functions, each a list of sentences, empty at best."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from itertools import pairwise
from math import inf

from tests.faults.history import History, Judgement, Outcome, Seen, Sent

_SHOWN = 5


def faults(history: History) -> list[str]:
    """Every promise about messages, keys and sessions that the history shows broken."""
    checks = (
        lost,
        misplaced,
        made_up,
        out_of_order,
        repeated_on_a_connection,
        stored_too_often,
        redelivered,
        keys_given_twice,
        wrongly_dead,
        wrongly_alive,
        wrong_answers,
    )
    return [*(fault for check in checks for fault in check(history)), *history.surprises]


def lost(history: History) -> list[str]:
    """Messages with a 201 that their recipient never saw. Needs a history that was drained."""
    missing = _missing(history)
    return [f"{len(missing)} messages with a 201 were lost: {_some(missing)}"] if missing else []


def forgotten(history: History) -> list[str]:
    """What a Redis explains that lost its last second: messages, acks, keys handed out, tokens exchanged."""
    checks = (lost, redelivered, keys_given_twice, wrongly_dead)
    return [fault for check in checks for fault in check(history)]


def number_lost(history: History) -> int:
    """How many, where some may be."""
    return len(_missing(history))


def losses(history: History) -> dict[str, int]:
    """How much a Redis forgot, of each kind, where that may be."""
    return {
        "messages lost": number_lost(history),
        "acks lost": len(redelivered(history)),
        "one-time keys given twice": len(keys_given_twice(history)),
        "sessions lost": len({judged.session for judged in _wrongly_refused(history)}),
    }


def misplaced(history: History) -> list[str]:
    """Messages that somebody else than their recipient saw."""
    sent = history.sent
    wrong = {s.number for s in history.seen if s.number in sent and sent[s.number].recipient != s.recipient}
    return [f"{len(wrong)} messages came to somebody else: {_some(sorted(wrong))}"] if wrong else []


def made_up(history: History) -> list[str]:
    """Envelopes that nobody sent."""
    numbers = {seen.number for seen in history.seen if seen.number >= history.first_number}
    strange = numbers - history.sent.keys()
    return [f"{len(strange)} messages were never sent: {_some(sorted(strange))}"] if strange else []


def out_of_order(history: History) -> list[str]:
    """Envelopes not in the order of their ids on one socket, and messages not stored in the order sent."""
    found = []
    for socket, envelopes in _by_socket(history).items():
        for before, after in pairwise(envelopes):
            if after.envelope_id < before.envelope_id and not _is_within(history.undone, before.at):
                found.append(f"socket {socket} got message {before.number} before {after.number}, stored earlier")
    for earlier, later in _overtaken(history):
        found.append(f"message {earlier} got its 201 before message {later} was sent, and is stored behind it")
    return found


def repeated_on_a_connection(history: History) -> list[str]:
    """Envelopes that came twice on one socket, but for those whose ack may have been undone."""
    counts = Counter(
        (seen.socket, seen.envelope_id) for seen in history.seen if not _is_within(history.undone, seen.at)
    )
    return [
        f"socket {socket} got envelope {name} {count} times" for (socket, name), count in counts.items() if count > 1
    ]


def stored_too_often(history: History) -> list[str]:
    """Messages under more ids than they were stored: more than one, unless sent again without a key or undone."""
    copies = defaultdict(set)
    for seen in history.seen:
        copies[seen.number].add(seen.envelope_id)
    return [
        f"message {number} was stored {len(names)} times and sent {history.sent[number].copies} times"
        for number, names in copies.items()
        if number in history.sent and len(names) > history.sent[number].copies + _undone_attempts(history, number)
    ]


def redelivered(history: History) -> list[str]:
    """Envelopes acked on a socket that then closed in order, and delivered on one opened after that."""
    undone: dict[int, set[str]] = defaultdict(set)
    for seen in history.seen:
        if _is_within(history.undone, seen.at):
            undone[seen.socket].add(seen.envelope_id)
    gone: dict[str, float] = {}
    for life in history.sockets.values():
        if life.is_flushed and life.ended is not None and not _is_within(history.outages, life.ended):
            for name in life.acked - undone[life.number]:
                gone[name] = min(life.ended, gone.get(name, life.ended))
    again = [
        seen
        for seen in history.seen
        if seen.envelope_id in gone and history.sockets[seen.socket].asked > gone[seen.envelope_id]
    ]
    return [f"socket {seen.socket} got message {seen.number}, whose ack was flushed" for seen in again]


def keys_given_twice(history: History) -> list[str]:
    """One-time pre-keys that two requests were given."""
    counts = Counter((taken.owner, taken.public_key) for taken in history.keys)
    return [f"a one-time key was given {count} times" for count in counts.values() if count > 1]


def wrongly_dead(history: History) -> list[str]:
    """Sessions that were refused before anybody asked for their end."""
    places = Counter(judged.where for judged in _wrongly_refused(history))
    return [f"a living session was refused {count} times {where}".rstrip() for where, count in places.items()]


def wrongly_alive(history: History, grace_secs: float = 1.0) -> list[str]:
    """Sessions that were accepted after their end was confirmed."""
    found = []
    for judged in history.judgements:
        life = history.sessions.get(judged.session)
        if judged.accepted and life is not None and life.ended is not None and judged.asked > life.ended + grace_secs:
            found.append(
                f"an ended session was accepted {judged.asked - life.ended:.1f} s later {judged.where}".rstrip()
            )
    return found


def wrong_answers(history: History) -> list[str]:
    """Answers to a message that are neither 201 nor 503."""
    statuses = Counter(
        attempt.status
        for message in history.sent.values()
        for attempt in message.attempts
        if attempt.outcome is Outcome.WRONG
    )
    return [f"{count} messages were answered {status}" for status, count in statuses.items()]


def accepted_between(history: History, began: float, ended: float) -> list[str]:
    """Messages asked to be stored and answered 201 within a time in which nobody could have stored them."""
    wrong = [
        message.number
        for message in history.sent.values()
        for attempt in message.attempts
        if attempt.outcome is Outcome.STORED and began < attempt.began and attempt.ended < ended
    ]
    return [f"{len(wrong)} messages got a 201 while Redis was away: {_some(wrong)}"] if wrong else []


def slow_refusals(history: History, limit_secs: float) -> list[str]:
    """Messages whose 503 took longer than was promised."""
    slowest = max(
        (a.ended - a.began for m in history.sent.values() for a in m.attempts if a.outcome is Outcome.REFUSED),
        default=0.0,
    )
    return [f"a 503 took {slowest:.1f} s"] if slowest > limit_secs else []


def slowest_answer(history: History) -> float:
    """The longest that an attempt took, whatever its outcome."""
    return max((a.ended - a.began for m in history.sent.values() for a in m.attempts), default=0.0)


def failed(history: History) -> list[str]:
    """Attempts that were not answered 201, of a time in which all were to succeed."""
    counts = Counter(
        (attempt.outcome.value, attempt.status)
        for message in history.sent.values()
        for attempt in message.attempts
        if attempt.outcome is not Outcome.STORED
    )
    return [f"{count} requests failed: {outcome} {status}" for (outcome, status), count in counts.items()]


def longest_wait(history: History, since: float) -> float:
    """The longest that a stored message waited to be seen first, counting from ``since`` at the earliest."""
    first: dict[int, float] = {}
    for seen in history.seen:
        first[seen.number] = min(seen.at, first.get(seen.number, seen.at))
    waits = (first[m.number] - max(m.ended, since) for m in history.sent.values() if m.is_stored and m.number in first)
    return max(waits, default=0.0)


def cut(history: History) -> list[str]:
    """Sockets that ended though their client did not mean to."""
    count = sum(life.status == 101 and life.ended is not None and not life.is_left for life in history.sockets.values())
    return [f"{count} sockets were cut"] if count else []


def slowest_return(history: History) -> float:
    """The longest that a client took to have a socket again, from the first node it tried to the upgrade."""
    return max(
        (life.opened - life.reconnecting for life in history.sockets.values() if life.status == 101), default=0.0
    )


def slowest_recovery(history: History, since: float, nodes: Iterable[str]) -> float:
    """The longest that a node took to store a message again; infinite if it never did."""
    first: dict[str, float] = {}
    for message in history.sent.values():
        for attempt in message.attempts:
            if attempt.outcome is Outcome.STORED and attempt.ended > since:
                first[attempt.node] = min(attempt.ended, first.get(attempt.node, inf))
    return max(first.get(node, inf) for node in nodes) - since


def _wrongly_refused(history: History) -> list[Judgement]:
    refused = []
    for judged in history.judgements:
        life = history.sessions.get(judged.session)
        if life is None or judged.accepted or judged.asked < life.began:
            continue
        if life.end_asked is None or judged.answered < life.end_asked:
            refused.append(judged)
    return refused


def _undone_attempts(history: History, number: int) -> int:
    """Attempts that may have stored a copy which was seen and then lost, and its key with it."""
    message = history.sent[number]
    return message.keyed * sum(
        attempt.outcome in (Outcome.REFUSED, Outcome.UNKNOWN)
        and any(began <= attempt.ended and attempt.began <= ended for began, ended in history.undone)
        for attempt in message.attempts
    )


def _missing(history: History) -> list[int]:
    arrived = {(seen.recipient, seen.number) for seen in history.seen}
    return [m.number for m in history.sent.values() if m.is_stored and (m.recipient, m.number) not in arrived]


def _is_within(spans: Iterable[tuple[float, float]], at: float) -> bool:
    return any(began <= at <= ended for began, ended in spans)


def _by_socket(history: History) -> dict[int, list[Seen]]:
    """The envelopes of each socket as they came."""
    sockets: dict[int, list[Seen]] = defaultdict(list)
    for seen in history.seen:
        sockets[seen.socket].append(seen)
    return sockets


def _overtaken(history: History) -> Iterator[tuple[int, int]]:
    """Pairs of messages to one recipient, the first answered before the second was sent, and stored behind it."""
    first_id: dict[int, str] = {}
    last_id: dict[int, str] = {}
    for seen in history.seen:
        first_id[seen.number] = min(seen.envelope_id, first_id.get(seen.number, seen.envelope_id))
        last_id[seen.number] = max(seen.envelope_id, last_id.get(seen.number, seen.envelope_id))
    inboxes: dict[str, list[Sent]] = defaultdict(list)
    for message in history.sent.values():
        if message.number in first_id and message.attempts:
            inboxes[message.recipient].append(message)
    for messages in inboxes.values():
        answered = sorted((m for m in messages if m.is_stored), key=lambda m: m.ended)
        newest: Sent | None = None
        position = 0
        for message in sorted(messages, key=lambda m: m.began):
            while position < len(answered) and answered[position].ended < message.began:
                candidate = answered[position]
                if newest is None or first_id[candidate.number] > first_id[newest.number]:
                    newest = candidate
                position += 1
            if newest is not None and last_id[message.number] < first_id[newest.number]:
                yield newest.number, message.number


def _some(numbers: list[int]) -> str:
    return ", ".join(map(str, numbers[:_SHOWN])) + (", …" if len(numbers) > _SHOWN else "")
