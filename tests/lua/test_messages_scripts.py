"""lua/messages_*.lua, one at a time: the inbox, its limits, its size and its ids."""

import os
import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import zip_longest
from typing import Any
from uuid import uuid4

import pytest

from obscura.store import keyspace
from tests.support.scripts import ScriptRunner

SENDER = "7d444840-9dc0-11d1-b245-5ffdce74fad2"
MINUTE_MS = 60_000
DAY_MS = 86_400_000
FAR_FUTURE_MS = 200_000_000_000_000  # the year 8307


class Inbox:
    """An account's inbox in Redis, and the scripts that work on it."""

    def __init__(self, scripts: ScriptRunner) -> None:
        self.scripts, self.redis = scripts, scripts.redis
        self.user_id = uuid4()
        self.account, self.stream = keyspace.account(self.user_id), keyspace.inbox(self.user_id)
        self.events = keyspace.events(self.user_id)
        keys = [self.account, keyspace.one_time_keys(self.user_id), keyspace.one_time_order(self.user_id)]
        scripts.run("accounts_create", keys, ["[]", "[]", 600_000])

    def append(
        self,
        body: bytes = b"hello",
        *,
        max_count: int = 1000,
        max_bytes: int = 1 << 20,
        ttl_ms: int = DAY_MS,
        idempotency: tuple[str, str] | None = None,
    ) -> list[Any]:
        """Append as the store does; ``idempotency`` is a key and a digest."""
        keys = [self.account, self.stream, self.events]
        args: list[str | bytes | int] = [SENDER, body, max_count, max_bytes, ttl_ms, "PUBLISH"]
        if idempotency is not None:
            keys.append(f"obscura:{{{self.user_id}}}:idempotency:{SENDER}:{idempotency[0]}")
            args += [idempotency[1], DAY_MS]
        return self.scripts.run("messages_append", keys, args)

    def ack(self, *ids: bytes | str, sizes: Sequence[int | str] = ()) -> int:
        """Ack as the store does; ``sizes`` of the bodies, as far as the caller knows them."""
        args = [arg for pair in zip_longest(ids, sizes, fillvalue="") for arg in pair]
        return self.scripts.run("messages_ack", [self.account, self.stream], args)

    def survey(self, after: bytes | str = "0-0", ttl_ms: int = DAY_MS) -> tuple[bytes, bytes, int]:
        """Where XRANGE is to begin, the newest id, and how many bytes wait at the most."""
        start, last, size = self.scripts.run("messages_survey", [self.account], [after, ttl_ms])
        return start, last, size

    def expire(self, ttl_ms: int, max_count: int = 1000) -> list[Any]:
        return self.scripts.run("messages_expire", [self.account, self.stream], [ttl_ms, max_count])

    def read(
        self, after: bytes | str = "0-0", *, max_count: int = 100, max_bytes: int = 1 << 20, ttl_ms: int = DAY_MS
    ) -> tuple[bytes, bool, list[bytes]]:
        """Where the page ends, whether anything lies beyond it, and its bodies."""
        keys, args = [self.account, self.stream], [self.survey(after, ttl_ms)[0], max_count, max_bytes]
        position, complete, *entries = self.scripts.run("messages_read", keys, args)
        assert all(entry[1] == SENDER.encode() for entry in entries)
        return position, bool(complete), [entry[2] for entry in entries]

    def age(self, *minutes: int, body: bytes = b"old") -> list[bytes]:
        """Messages that were sent so many minutes ago, oldest first, as the append script leaves them."""
        seconds, _ = self.redis.time()
        times_ms = [seconds * 1000 - ago * MINUTE_MS for ago in minutes]
        for ms in times_ms:
            self.redis.xadd(self.stream, {"from": SENDER, "body": body}, id=f"{ms}-0")
        self.redis.hset(
            self.account,
            mapping={
                "inbox_bytes": len(body) * len(minutes),
                "inbox_count": len(minutes),
                "inbox_last": f"{times_ms[-1]}-0",
                "inbox_oldest": times_ms[0],
            },
        )
        return [f"{ms}-0".encode() for ms in times_ms]

    def entries(self) -> list[tuple[bytes, bytes]]:
        """Ids and bodies."""
        return [(entry_id, fields[b"body"]) for entry_id, fields in self.redis.xrange(self.stream)]

    def bodies(self) -> list[bytes]:
        return [body for _, body in self.entries()]

    def state(self) -> tuple[int, bytes, int]:
        """inbox_bytes, inbox_last, inbox_oldest."""
        size, last, oldest_ms = self.redis.hmget(self.account, "inbox_bytes", "inbox_last", "inbox_oldest")
        return int(size), last, int(oldest_ms)

    @contextmanager
    def hearing(self) -> Iterator[Callable[[int], list[bytes]]]:
        """Gives a function that waits for so many events."""
        with self.redis.pubsub(ignore_subscribe_messages=True) as events:
            events.subscribe(self.events)
            assert events.get_message(timeout=10) is None  # the confirmation

            def hear(count: int) -> list[bytes]:
                heard: list[bytes] = []
                while len(heard) < count:
                    message = events.get_message(timeout=10)
                    assert message is not None, heard
                    heard.append(message["data"])
                return heard

            yield hear


@pytest.fixture
def inbox(scripts: ScriptRunner) -> Inbox:
    return Inbox(scripts)


def as_pair(entry_id: bytes) -> tuple[int, int]:
    ms, _, seq = entry_id.partition(b"-")
    return int(ms), int(seq)


def test_append_stores_at_the_end(inbox: Inbox) -> None:
    """Entries are in the order of the calls, and each call names its own and the one before."""
    replies = [inbox.append(body) for body in (b"one", b"two", b"three")]
    assert inbox.bodies() == [b"one", b"two", b"three"]
    ids = [entry_id for entry_id, _ in inbox.entries()]
    assert [(reply[1], reply[2]) for reply in replies] == list(zip(ids, [b"0-0", *ids[:2]], strict=True))
    assert [reply[3:6] for reply in replies] == [[as_pair(ids[0])[0], 0, 0]] * 3


def test_append_for_an_unknown_recipient_stores_nothing(inbox: Inbox) -> None:
    """It does not make an inbox without an account."""
    inbox.redis.delete(inbox.account)
    assert inbox.append() == [b"unknown"]
    assert inbox.redis.exists(inbox.account, inbox.stream) == 0


def test_append_takes_any_bytes(inbox: Inbox) -> None:
    """A body comes back as it was, NUL, line feeds and invalid UTF-8 included."""
    body = bytes(range(256)) * 3
    inbox.append(body)
    assert inbox.bodies() == [body]


def test_append_announces_what_it_stored(inbox: Inbox) -> None:
    """The event names the entry, the one before it and the sender, and carries a body of up to 16 KiB."""
    small, large = b"\n" * 16_384, b"\n" * 16_385
    with inbox.hearing() as hear:
        first, second = inbox.append(small)[1], inbox.append(large)[1]
        heard = hear(2)
    assert heard[0] == b"message %b 0-0 %b\n%b" % (first, SENDER.encode(), small)
    assert heard[1] == b"message %b %b %b" % (second, first, SENDER.encode())


def test_append_over_the_count_drops_the_oldest(inbox: Inbox) -> None:
    """The same step that stores one too many removes the first."""
    for number in range(3):
        inbox.append(b"%d" % number, max_count=3)
    assert inbox.append(b"3", max_count=3)[4] == 1
    assert inbox.bodies() == [b"1", b"2", b"3"]


def test_append_over_the_bytes_drops_as_many_as_it_takes(inbox: Inbox) -> None:
    """A large message makes room for itself, oldest first, and no more than it needs."""
    for number in range(5):
        inbox.append(b"%d" % number * 10, max_bytes=50)
    assert inbox.append(b"x" * 25, max_bytes=50)[4] == 3
    assert inbox.bodies() == [b"3" * 10, b"4" * 10, b"x" * 25]
    assert inbox.state()[0] == 45


def test_append_up_to_the_limits_drops_nothing(inbox: Inbox) -> None:
    """An inbox may be exactly full, in messages and in bytes."""
    for _ in range(4):
        assert inbox.append(b"x" * 10, max_count=4, max_bytes=40)[4] == 0


def test_append_of_a_body_over_the_inbox_limit_stores_it_alone(inbox: Inbox) -> None:
    """The newest message is never the one that is dropped."""
    inbox.append(b"small")
    assert inbox.append(b"x" * 100, max_bytes=50)[4] == 1
    assert inbox.bodies() == [b"x" * 100]


def test_append_after_limits_were_lowered_drops_all_that_is_too_much(inbox: Inbox) -> None:
    """A node with smaller settings than before brings an inbox within them at once."""
    for number in range(20):
        inbox.append(b"%d" % number)
    assert inbox.append(b"last", max_count=2)[4] == 19
    assert inbox.bodies() == [b"19", b"last"]


def test_append_drops_what_has_expired(inbox: Inbox) -> None:
    """Expired messages go on the way, and the reply names the oldest that is left."""
    ids = inbox.age(30, 20, 10)
    assert inbox.append(b"new", ttl_ms=15 * MINUTE_MS)[3:] == [as_pair(ids[2])[0], 0, 2, 0]
    assert inbox.bodies() == [b"old", b"new"]


def test_append_tells_what_has_expired_from_what_it_drops(inbox: Inbox) -> None:
    """A message that is over its time was nobody's to get, whether there was room for it or not."""
    inbox.age(30, 20, 10, 5)
    assert inbox.append(b"new", ttl_ms=15 * MINUTE_MS, max_count=2)[4:6] == [1, 2]
    assert inbox.bodies() == [b"old", b"new"]


def test_append_tells_of_an_inbox_that_begins_to_wait(inbox: Inbox) -> None:
    """The first message that no node hears of; not one that a socket gets, nor those that come behind it."""
    assert [inbox.append()[6] for _ in range(3)] == [1, 0, 0]
    inbox.ack(*(entry_id for entry_id, _ in inbox.entries()))
    with inbox.hearing() as hear:
        assert inbox.append()[6] == 0
        hear(1)
    inbox.ack(*(entry_id for entry_id, _ in inbox.entries()))
    assert inbox.append()[6] == 1


def test_append_finds_the_oldest_again_after_an_ack(inbox: Inbox) -> None:
    """The bound on the oldest message's time is put right when it looks expired; nothing else goes."""
    ids = inbox.age(30, 10)
    inbox.ack(ids[0])
    assert inbox.state()[2] == as_pair(ids[0])[0]
    assert inbox.append(b"new", ttl_ms=20 * MINUTE_MS)[3:6] == [as_pair(ids[1])[0], 0, 0]
    assert inbox.state()[2] == as_pair(ids[1])[0]


def test_append_lets_an_inbox_live_for_the_ttl(inbox: Inbox) -> None:
    """An inbox dies as a whole when its last message has expired."""
    inbox.append(ttl_ms=MINUTE_MS)
    assert 0 < inbox.redis.pttl(inbox.stream) <= MINUTE_MS
    inbox.append(ttl_ms=DAY_MS)
    assert inbox.redis.pttl(inbox.stream) > MINUTE_MS


def test_append_after_an_inbox_died_counts_from_zero(inbox: Inbox) -> None:
    """What the account says of an inbox that Redis expired is not believed."""
    inbox.append(b"x" * 100)
    inbox.redis.delete(inbox.stream)
    reply = inbox.append(b"new")
    assert reply[3:6] == [as_pair(reply[1])[0], 0, 1]
    assert inbox.state() == (3, reply[1], as_pair(reply[1])[0])


def test_ids_grow_when_the_clock_went_back(inbox: Inbox) -> None:
    """After an id from the future the next ones follow on it, whatever the time says."""
    inbox.redis.hset(inbox.account, "inbox_last", f"{FAR_FUTURE_MS}-7")
    assert [inbox.append()[1] for _ in range(3)] == [f"{FAR_FUTURE_MS}-{seq}".encode() for seq in (8, 9, 10)]


def test_ids_grow_over_the_death_of_the_stream(inbox: Inbox) -> None:
    """An emptied, expired or deleted inbox does not begin its ids anew."""
    inbox.redis.hset(inbox.account, "inbox_last", f"{FAR_FUTURE_MS}-0")
    first = inbox.append()[1]
    inbox.redis.delete(inbox.stream)
    second = inbox.append()[1]
    inbox.ack(second)
    third = inbox.append()[1]
    assert as_pair(first) < as_pair(second) < as_pair(third)


def test_ids_are_the_time_when_that_is_ahead(inbox: Inbox) -> None:
    """The first message of a millisecond has sequence 0 and Redis's own time."""
    before = inbox.redis.time()[0] * 1000
    ms, _ = as_pair(inbox.append()[1])
    assert before <= ms <= (inbox.redis.time()[0] + 1) * 1000


def test_an_id_that_is_ahead_of_the_clock_has_the_time_beside_it(inbox: Inbox) -> None:
    """A reader gets it from the inbox, so the event comes without the body; within a second the id will do."""
    seconds, _ = inbox.redis.time()
    with inbox.hearing() as hear:
        for ahead_secs in (0.9, 60):
            inbox.redis.hset(inbox.account, "inbox_last", f"{int((inbox.redis.time()[0] + ahead_secs) * 1000)}-7")
            inbox.append()
        heard = hear(2)
    assert [event.endswith(b"\nhello") for event in heard] == [True, False]
    usual, ahead = (list(fields) for _, fields in inbox.redis.xrange(inbox.stream))
    assert usual == [b"from", b"body"]
    assert 0 <= int(ahead[1].removeprefix(b"body@")) - seconds * 1000 < 10_000


def test_an_idempotency_key_stores_once(inbox: Inbox) -> None:
    """The second call with the same key and digest changes and announces nothing."""
    with inbox.hearing() as hear:
        assert inbox.append(b"one", idempotency=("key", "abc"))[0] == b"stored"
        assert inbox.append(b"one", idempotency=("key", "abc")) == [b"repeated"]
        inbox.append(b"two")
        assert [event.endswith(b"two") for event in hear(2)] == [False, True]
    assert inbox.bodies() == [b"one", b"two"]


def test_an_idempotency_key_for_another_body_is_a_conflict(inbox: Inbox) -> None:
    """Also if one digest begins like the other."""
    inbox.append(b"one", idempotency=("key", "abc"))
    assert inbox.append(b"two", idempotency=("key", "abcd")) == [b"conflict"]
    assert inbox.append(b"two", idempotency=("key", "ab")) == [b"conflict"]
    assert inbox.bodies() == [b"one"]


def test_an_idempotency_key_is_remembered_beyond_the_message(inbox: Inbox) -> None:
    """For 24 hours a repeat stores nothing, though the message was acked."""
    entry_id = inbox.append(idempotency=("key", "abc"))[1]
    inbox.ack(entry_id)
    assert inbox.append(idempotency=("key", "abc")) == [b"repeated"]
    remembered = f"obscura:{{{inbox.user_id}}}:idempotency:{SENDER}:key"
    assert DAY_MS - MINUTE_MS < inbox.redis.pttl(remembered) <= DAY_MS


def test_ack_removes_the_entries_named(inbox: Inbox) -> None:
    """Unknown ids count nothing, and an id twice counts once."""
    ids = [inbox.append(body)[1] for body in (b"one", b"two", b"three")]
    assert inbox.ack(ids[1], ids[1], "1-1", "0-0", f"{2**48 - 1}-{2**32 - 1}") == 1
    assert inbox.bodies() == [b"one", b"three"]
    assert inbox.state()[0] == len(b"onethree")
    assert inbox.ack(ids[1]) == 0


def test_ack_believes_the_sizes_it_is_told(inbox: Inbox) -> None:
    """Of what is there; of what is gone already, nothing is taken off."""
    ids = [inbox.append(body)[1] for body in (b"one", b"three", b"seventeen", b"last")]
    assert inbox.ack(ids[0], ids[1], ids[2], "1-1", sizes=[3, "", 9, 1_000]) == 3
    assert inbox.ack(ids[0], sizes=[3]) == 0
    assert inbox.state()[0] == len(b"last")


def test_ack_of_the_last_entry_leaves_no_stream(inbox: Inbox) -> None:
    """An empty inbox costs no memory; the last id stays known."""
    last = inbox.append()[1]
    assert inbox.ack(last) == 1
    assert inbox.redis.exists(inbox.stream) == 0
    assert inbox.state() == (0, last, 0)


def test_read_gives_the_whole_inbox_in_order(inbox: Inbox) -> None:
    """A page that reaches the end says so, with the last id ever given as its position."""
    bodies = [b"%d" % number for number in range(10)]
    last = [inbox.append(body)[1] for body in bodies][-1]
    assert inbox.read() == (last, True, bodies)
    inbox.ack(last)
    assert inbox.read() == (last, True, bodies[:-1])


def test_read_goes_page_by_page(inbox: Inbox) -> None:
    """Pages follow on one another without a gap or a repeat."""
    bodies = [b"%d" % number for number in range(10)]
    for body in bodies:
        inbox.append(body)
    seen, position, complete = [], b"0-0", False
    while not complete:
        position, complete, page = inbox.read(position, max_count=3)
        assert len(page) <= 3
        seen += page
    assert seen == bodies


def test_read_stops_at_its_bytes_but_gives_at_least_one(inbox: Inbox) -> None:
    """A page ends with the entry that fills it."""
    for _ in range(3):
        inbox.append(b"x" * 100)
    assert len(inbox.read(max_bytes=1)[2]) == 1
    assert len(inbox.read(max_bytes=150)[2]) == 2


def test_read_leaves_expired_entries_out(inbox: Inbox) -> None:
    """What waits for the clean-up is never delivered."""
    ids = inbox.age(30, 20, 10)
    assert inbox.read(ttl_ms=15 * MINUTE_MS) == (ids[2], True, [b"old"])
    assert inbox.read(ids[0], ttl_ms=5 * MINUTE_MS) == (ids[2], True, [])


def test_read_of_an_inbox_without_an_account_is_empty(inbox: Inbox) -> None:
    """Its position is before every entry."""
    inbox.redis.delete(inbox.account)
    assert inbox.read("5-5") == (b"0-0", True, [])


def test_read_from_beyond_the_end_comes_back_to_it(inbox: Inbox) -> None:
    """A cursor from before a failover that lost the end of the inbox is put back."""
    last = inbox.append()[1]
    assert inbox.read(f"{FAR_FUTURE_MS}-0") == (last, True, [])


def test_a_survey_tells_where_a_page_begins_and_how_much_there_is(inbox: Inbox) -> None:
    """Behind what was read, with the newest id ever given and the bytes of the whole inbox."""
    first, last = inbox.append(b"one")[1], inbox.append(b"two")[1]
    assert inbox.survey(first) == (b"(" + first, last, 6)
    inbox.ack(first, last)
    assert inbox.survey(last) == (b"(" + last, last, 0)


def test_a_survey_passes_over_what_has_expired(inbox: Inbox) -> None:
    """What waits for the clean-up is never delivered."""
    ids = inbox.age(30, 20, 10)
    start = inbox.survey(ttl_ms=15 * MINUTE_MS)[0]
    assert [entry_id for entry_id, _ in inbox.redis.xrange(inbox.stream, start)] == [ids[2]]


def test_a_survey_of_nothing_is_empty(inbox: Inbox) -> None:
    """No account: nothing lies anywhere."""
    inbox.redis.delete(inbox.account)
    assert inbox.survey(f"{FAR_FUTURE_MS}-0") == (f"({FAR_FUTURE_MS}-0".encode(), b"0-0", 0)


def test_expire_removes_what_is_over_the_ttl(inbox: Inbox) -> None:
    """The rest stays, and the time of the oldest of it is told."""
    ids = inbox.age(30, 20, 10)
    assert inbox.expire(15 * MINUTE_MS) == [2, as_pair(ids[2])[0]]
    assert inbox.bodies() == [b"old"]
    assert inbox.state() == (3, ids[2], as_pair(ids[2])[0])
    assert inbox.expire(15 * MINUTE_MS) == [0, as_pair(ids[2])[0]]


def test_expire_stops_at_its_bound(inbox: Inbox) -> None:
    """More than one call's work is left for the next, and its oldest is told."""
    ids = inbox.age(40, 30, 20, 10)
    assert inbox.expire(15 * MINUTE_MS, max_count=2) == [2, as_pair(ids[2])[0]]
    assert inbox.expire(15 * MINUTE_MS, max_count=2) == [1, as_pair(ids[3])[0]]


def test_expire_has_an_inbox_live_by_the_ttl_of_its_caller(inbox: Inbox) -> None:
    """Written to under another one, be it shorter or longer, it is kept for as long as its newest message is."""
    inbox.age(20, 10)
    for written_ms, ttl_minutes in ((11 * MINUTE_MS, 60), (DAY_MS, 30)):
        inbox.redis.pexpire(inbox.stream, written_ms)
        assert inbox.expire(ttl_minutes * MINUTE_MS)[0] == 0
        left_minutes = inbox.redis.pttl(inbox.stream) / MINUTE_MS
        assert ttl_minutes - 11 <= left_minutes <= ttl_minutes - 10


@pytest.mark.parametrize("acked", [0, 1, 2])
def test_an_inbox_that_died_as_a_whole_is_counted_once(inbox: Inbox, acked: int) -> None:
    """By the clean-up or by the next message, whichever comes first: what was not acked, and no more than that."""
    for first in (inbox.expire, lambda ttl_ms: inbox.append(ttl_ms=ttl_ms)[5:]):
        ids = [inbox.append()[1] for _ in range(3)]
        inbox.ack(*ids[:acked])
        inbox.redis.delete(inbox.stream)
        assert first(DAY_MS)[0] == 3 - acked
        inbox.ack(*(entry_id for entry_id, _ in inbox.entries()))
        assert inbox.expire(DAY_MS) == [0, None]
        assert inbox.append()[5] == 0
        inbox.ack(*(entry_id for entry_id, _ in inbox.entries()))


def test_expire_of_all_leaves_no_stream(inbox: Inbox) -> None:
    """An inbox with nothing left is gone, with its size."""
    ids = inbox.age(30, 20)
    assert inbox.expire(15 * MINUTE_MS) == [2, None]
    assert inbox.redis.exists(inbox.stream) == 0
    assert inbox.state() == (0, ids[1], 0)


def test_expire_of_no_inbox_does_nothing(inbox: Inbox) -> None:
    """It makes no account where there is none."""
    inbox.redis.delete(inbox.account)
    assert inbox.expire(MINUTE_MS) == [0, None]
    assert inbox.redis.exists(inbox.account) == 0


class Model:
    """What an inbox should hold, worked out in Python."""

    def __init__(self, inbox: Inbox, dice: random.Random) -> None:
        self.inbox, self.dice = inbox, dice
        self.entries: list[tuple[bytes, int]] = []  # id and size
        self.died = 0  # entries of an inbox that died, as long as nobody has counted them
        self.last = b"0-0"
        self.now_ms = inbox.redis.time()[0] * 1000

    def start_with_old_messages(self) -> None:
        ages = sorted(self.dice.sample(range(1, 60), 12), reverse=True)
        self.inbox.redis.delete(self.inbox.stream)
        self.entries = [(entry_id, 3) for entry_id in self.inbox.age(*ages, body=b"old")]
        self.last, self.died = self.entries[-1][0], 0

    def step(self) -> str:
        """One random operation on both; returns what it was."""
        steps = [self.append, self.append, self.append, self.ack, self.expire, self.take_over, self.die]
        step = self.dice.choices(steps, weights=[3, 3, 3, 4, 2, 0.3, 0.3])[0]
        step()
        return step.__name__

    def append(self) -> None:
        size = self.dice.choice([1, 10, 100, 1000])
        max_count, max_bytes = self.dice.randint(1, 20), self.dice.randint(100, 3000)
        ttl_ms = self.random_ttl_ms()
        kept = [entry for entry in self.entries if not self.is_expired(entry[0], ttl_ms)]
        while kept and (len(kept) >= max_count or sum(size for _, size in kept) + size > max_bytes):
            kept.pop(0)
        limits = {"max_count": max_count, "max_bytes": max_bytes, "ttl_ms": ttl_ms}
        outcome, entry_id, previous, oldest_ms, *gone, waits = self.inbox.append(b"x" * size, **limits)
        assert (outcome, previous, waits) == (b"stored", self.last, not kept)
        expired = sum(self.is_expired(entry_id, ttl_ms) for entry_id, _ in self.entries)
        assert gone == [len(self.entries) - len(kept) - expired, expired + self.died]
        self.died = 0
        assert as_pair(entry_id) > as_pair(self.last)
        self.entries = [*kept, (entry_id, size)]
        self.last = entry_id
        assert oldest_ms <= as_pair(self.entries[0][0])[0]

    def ack(self) -> None:
        chosen = self.dice.sample(self.entries, self.dice.randint(0, min(3, len(self.entries))))
        sizes = [self.dice.choice([size, ""]) for _, size in chosen]
        assert self.inbox.ack(*(entry_id for entry_id, _ in chosen), "1-1", sizes=sizes) == len(chosen)
        self.entries = [entry for entry in self.entries if entry not in chosen]

    def expire(self) -> None:
        ttl_ms, bound = self.random_ttl_ms(), self.dice.choice([1, 3, 1000])
        expired = [entry for entry in self.entries if self.is_expired(entry[0], ttl_ms)][:bound]
        self.entries = self.entries[len(expired) :]
        oldest_ms = as_pair(self.entries[0][0])[0] if self.entries else None
        assert self.inbox.expire(ttl_ms, bound) == [len(expired) + self.died, oldest_ms]
        self.died = 0

    def take_over(self) -> None:
        user_id, session = self.inbox.user_id, uuid4()
        self.inbox.redis.hset(self.inbox.account, "identity_key", "an identity")
        self.inbox.redis.hset(keyspace.session(user_id, session), "token", "digest")
        keys = [self.inbox.account, keyspace.one_time_keys(user_id), keyspace.one_time_order(user_id)]
        keys += [self.inbox.stream, keyspace.sessions(user_id), keyspace.session(user_id, session), self.inbox.events]
        keys.append(keyspace.replaced_sessions(user_id))
        args = ["an identity", "[]", "[]", "PUBLISH", str(session)]
        assert self.inbox.scripts.run("keys_takeover", keys, args) == b"stored"
        self.entries, self.died = [], 0

    def die(self) -> None:
        """As Redis's own expiry has it: the account does not hear of it."""
        self.inbox.redis.delete(self.inbox.stream)
        self.entries, self.died = [], len(self.entries) or self.died

    def random_ttl_ms(self) -> int:
        # The aged entries are whole minutes old: half a minute beside that no clock can blur who has expired.
        return self.dice.randint(1, 60) * MINUTE_MS + MINUTE_MS // 2

    def is_expired(self, entry_id: bytes, ttl_ms: int) -> bool:
        return as_pair(entry_id)[0] < self.now_ms - ttl_ms


@pytest.mark.parametrize("turn", range(4))
def test_any_sequence_leaves_the_inbox_as_its_model(inbox: Inbox, turn: int) -> None:
    """Entries, limits and inbox_bytes are right after every random step; TEST_SEED repeats a run that failed."""
    seed = int(os.environ.get("TEST_SEED") or random.randrange(2**32))
    model = Model(inbox, random.Random(seed))
    for _ in range(8):
        model.start_with_old_messages()
        steps: list[str] = []
        for _ in range(40):
            steps.append(model.step())
            told = f"TEST_SEED={seed}, at the end of {steps}"
            assert [(entry_id, len(body)) for entry_id, body in inbox.entries()] == model.entries, told
            size, last, oldest_ms = inbox.state()
            assert last == model.last, told
            if model.entries:  # else the account may speak of an inbox that died
                assert size == sum(size for _, size in model.entries), told
                assert oldest_ms <= as_pair(model.entries[0][0])[0], told
