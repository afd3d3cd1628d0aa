"""lua/keys_*.lua, one at a time: one-time pre-keys, refills, takeovers."""

import json
from collections.abc import Iterable
from typing import Any
from uuid import UUID, uuid4

import pytest
from redis import Redis
from redis.client import PubSub

from obscura.store import keyspace
from tests.support.scripts import ScriptRunner

THRESHOLD = 3
MAX_KEYS = 100


class Account:
    """An account in Redis whose keys are plain words: the scripts take them as they come."""

    def __init__(self, scripts: ScriptRunner, key_ids: Iterable[int] = (), signed_id: int = 1) -> None:
        self.scripts, self.redis = scripts, scripts.redis
        self.id = uuid4()
        self.account, self.inbox = keyspace.account(self.id), keyspace.inbox(self.id)
        self.one_time, self.order = keyspace.one_time_keys(self.id), keyspace.one_time_order(self.id)
        self.sessions, self.events = keyspace.sessions(self.id), keyspace.events(self.id)
        self.told = keyspace.told_of_no_keys(self.id)
        self.keys = [self.account, self.one_time, self.order]
        fields = json.dumps(device_fields("first", signed_id))
        scripts.run("accounts_create", self.keys, [fields, json.dumps(pairs(key_ids)), 60_000])

    def take(self, threshold: int = THRESHOLD, reserve: int = 0) -> Any:
        names = device_fields("", 0)[::2]
        keys = [*self.keys, self.events, self.told]
        return self.scripts.run("keys_take", keys, [threshold, "PUBLISH", reserve, *names])

    def refill(
        self,
        key_ids: Iterable[int],
        *,
        identity: str = "first",
        signed_id: int = 2,
        signed_key: str | None = None,
        signature: str | None = "new signature",
    ) -> bytes:
        public = signed_key or f"signed {signed_id}"
        fields = ["signed_pre_key_id", signed_id, "signed_pre_key", public, "signed_pre_key_signature", signature]
        added = json.dumps(pairs(key_ids, "new"))
        args = [identity, signed_id, public, json.dumps(fields if signature else []), added, f"of {added}", MAX_KEYS]
        return self.scripts.run("keys_refill", self.keys, args)

    def session_key(self, session: UUID) -> str:
        return keyspace.session(self.id, session)

    def log_in(self) -> UUID:
        session = uuid4()
        keys = [self.account, self.sessions, self.session_key(session)]
        assert self.scripts.run("sessions_create", keys, [str(session), "digest", 60_000, 1000]) > 0
        return session

    def begin_takeover(self, kept: UUID, *others: UUID) -> list[int] | None:
        return self.scripts.run("keys_takeover_begin", [self.session_key(kept), *map(self.session_key, others)])

    def take_over(self, kept: UUID, *ended: UUID, expected: str = "first", identity: str = "second") -> bytes:
        keys = [*self.keys, self.inbox, self.sessions, self.session_key(kept), self.events]
        keys.append(keyspace.replaced_sessions(self.id))
        device = [json.dumps(device_fields(identity, 1)), json.dumps(pairs(range(1, 4), identity))]
        return self.scripts.run("keys_takeover", keys, [expected, *device, "PUBLISH", str(kept), *map(str, ended)])

    def stored(self) -> dict[int, str]:
        """The one-time pre-keys, oldest first; fails if the hash and the order disagree."""
        by_id = self.redis.hgetall(self.one_time)
        ids = self.redis.zrange(self.order, 0, -1)
        assert sorted(by_id) == sorted(ids)
        return {int(key_id): by_id[key_id].decode() for key_id in ids}

    def everything(self) -> dict[bytes, bytes]:
        """All that Redis holds of the account, serialised."""
        return {key: self.redis.dump(key) for key in self.redis.keys(f"obscura:{{{self.id}}}:*")}


def device_fields(identity: str, signed_id: int) -> list[str]:
    return ["identity_key", identity, "registration_id", "4711", *signed_pre_key_fields(signed_id)]


def signed_pre_key_fields(signed_id: int) -> list[str]:
    return [
        *("signed_pre_key_id", str(signed_id)),
        *("signed_pre_key", f"signed {signed_id}", "signed_pre_key_signature", f"signature {signed_id}"),
    ]


def pairs(key_ids: Iterable[int], name: str = "old") -> list[str]:
    return [text for key_id in key_ids for text in (str(key_id), f"{name} {key_id}")]


def heard(events: PubSub, channel: str) -> list[bytes]:
    """What was published there since it was last asked."""
    Redis(connection_pool=events.connection_pool).publish(channel, "end")
    said = []
    while (message := events.get_message(timeout=10)) is None or message["data"] != b"end":
        said += [message["data"]] if message else []
    return said


def test_take_of_an_unknown_user_is_empty(scripts: ScriptRunner) -> None:
    """No account, no bundle."""
    account = Account(scripts)
    scripts.redis.delete(account.account)
    assert account.take() == []


def test_take_gives_the_bundle_with_the_oldest_one_time_key(scripts: ScriptRunner) -> None:
    """Fields come in the order asked for; the key that arrived first goes first, whatever its id."""
    account = Account(scripts, [7, 3, 5, 4])
    bundle = [b"first", b"4711", b"1", b"signed 1", b"signature 1"]
    assert account.take() == [bundle, [b"7", b"old 7"], 0, 0]
    assert account.take(threshold=0) == [bundle, [b"3", b"old 3"], 0, 0]
    assert account.stored() == {5: "old 5", 4: "old 4"}


def test_take_without_one_time_keys_gives_the_rest(scripts: ScriptRunner) -> None:
    """An account that has run out still has a bundle."""
    assert Account(scripts).take() == [[b"first", b"4711", b"1", b"signed 1", b"signature 1"], [], 0, 0]


@pytest.mark.parametrize(
    ("threshold", "told"), [(6, [5, 3, 0]), (7, [6, 3, 0]), (3, [2, 1, 0]), (2, [1, 0]), (1, [0]), (0, [])]
)
def test_take_tells_below_the_threshold_at_half_of_it_and_at_zero(
    scripts: ScriptRunner, threshold: int, told: list[int]
) -> None:
    """And of no other count; of these takes the first alone counts as the one that made keys low."""
    account = Account(scripts, range(9))
    with scripts.redis.pubsub(ignore_subscribe_messages=True) as events:
        events.subscribe(account.events)
        lows = [account.take(threshold)[2] for _ in range(9)]
        assert heard(events, account.events) == [b"pre-keys-low %d" % count for count in told]
    assert sum(lows) == bool(threshold)


@pytest.mark.parametrize("reserve", [0, 2])
def test_take_of_nothing_tells_once_a_minute(scripts: ScriptRunner, reserve: int) -> None:
    """From zero on, or from the reserve: however many ask, and again when the minute is over."""
    account = Account(scripts, range(3))
    with scripts.redis.pubsub(ignore_subscribe_messages=True) as events:
        events.subscribe(account.events)
        for _ in range(6):
            account.take(threshold=9, reserve=reserve)
        assert heard(events, account.events) == [b"pre-keys-low %d" % reserve]
        assert 0 < scripts.redis.pttl(account.told) <= 60_000
        scripts.redis.delete(account.told)
        for _ in range(3):
            account.take(threshold=9, reserve=reserve)
        assert heard(events, account.events) == [b"pre-keys-low %d" % reserve]


def test_take_of_nothing_tells_nobody_who_wants_no_keys(scripts: ScriptRunner) -> None:
    """Without a threshold there is no shortage."""
    account = Account(scripts)
    account.take(threshold=0)
    assert not scripts.redis.exists(account.told)


def test_take_leaves_the_reserve_untouched(scripts: ScriptRunner) -> None:
    """A caller who may not touch the last keys gets the bundle without one, and is told apart from running out."""
    account = Account(scripts, [1, 2, 3])
    assert account.take(reserve=2)[1:] == [[b"1", b"old 1"], 1, 0]
    before = account.stored()
    assert [account.take(reserve=reserve)[1:] for reserve in (2, 3, 100)] == [[[], 0, 1]] * 3
    assert account.stored() == before
    assert account.take(reserve=1)[1:] == [[b"2", b"old 2"], 0, 0]
    assert account.take(reserve=0)[1:] == [[b"3", b"old 3"], 0, 0]
    assert account.take(reserve=2)[1:] == [[], 0, 0]


def test_refill_adds_behind_what_is_stored(scripts: ScriptRunner) -> None:
    """New one-time keys queue up in the order given; the signed key is replaced."""
    account = Account(scripts, [1, 2])
    assert account.refill([9, 8]) == b"stored"
    assert list(account.stored()) == [1, 2, 9, 8]
    assert account.take()[0][2:] == [b"2", b"signed 2", b"new signature"]


def test_refill_keeps_a_stored_key_in_its_place(scripts: ScriptRunner) -> None:
    """A keyId that is there already keeps its old public key and its turn."""
    account = Account(scripts, [1, 2, 3])
    account.refill([2, 4, 1])
    assert account.stored() == {1: "old 1", 2: "old 2", 3: "old 3", 4: "new 4"}


def test_refill_over_the_maximum_drops_the_oldest(scripts: ScriptRunner) -> None:
    """The newest that fit stay."""
    account = Account(scripts, range(60))
    account.refill(range(100, 160))
    assert list(account.stored()) == [*range(20, 60), *range(100, 160)]


def test_refill_with_duplicates_never_lowers_the_count(scripts: ScriptRunner) -> None:
    """Full, and 60 keys sent of which 40 are stored: still full."""
    account = Account(scripts, range(MAX_KEYS))
    account.refill(range(60, 120))
    assert list(account.stored()) == [*range(20, 120)]


def test_refill_after_all_keys_were_taken_starts_anew(scripts: ScriptRunner) -> None:
    """An empty store of one-time keys takes new ones in their order."""
    account = Account(scripts, [1])
    account.take()
    account.refill([5, 4])
    assert list(account.stored()) == [5, 4]


@pytest.mark.parametrize("signed_id", [4, 5])
def test_refill_needs_a_newer_signed_key(scripts: ScriptRunner, signed_id: int) -> None:
    """A lower id of the signed pre-key, or the stored one with another key, changes nothing."""
    account = Account(scripts, [1], signed_id=5)
    before = account.everything()
    assert account.refill([2], signed_id=signed_id, signed_key="another") == b"old"
    assert account.everything() == before
    assert account.refill([2], signed_id=6) == b"stored"


@pytest.mark.parametrize("signature", [None, "new signature"])
def test_refill_with_the_stored_signed_key_keeps_it(scripts: ScriptRunner, signature: str | None) -> None:
    """Whether its signature comes along or not, the stored one stays; the one-time keys are added."""
    account = Account(scripts, [1], signed_id=5)
    assert account.refill([7, 6], signed_id=5, signature=signature) == b"stored"
    assert list(account.stored()) == [1, 7, 6]
    assert account.take()[0][2:] == [b"5", b"signed 5", b"signature 5"]


def test_refill_with_the_stored_signed_key_alone_is_old(scripts: ScriptRunner) -> None:
    """A replay that brings no one-time key brings nothing."""
    account = Account(scripts, [1], signed_id=5)
    before = account.everything()
    assert account.refill([], signed_id=5, signature=None) == b"old"
    assert account.everything() == before


def test_refill_repeated_adds_no_key_that_was_taken(scripts: ScriptRunner) -> None:
    """A client whose answer was lost sends it again: what was handed out meanwhile is not handed out twice."""
    account = Account(scripts, signed_id=5)
    for signed_id, key_ids in ((6, [1, 2]), (6, [3, 4])):
        assert account.refill(key_ids, signed_id=signed_id) == b"stored"
        account.take()
        assert account.refill(key_ids, signed_id=signed_id) == b"stored"
    assert list(account.stored()) == [3, 4]


def test_refill_with_the_stored_signed_key_under_another_id_is_refused(scripts: ScriptRunner) -> None:
    """A new number does not make a new key of it."""
    account = Account(scripts, [1], signed_id=5)
    before = account.everything()
    assert account.refill([2], signed_id=6, signed_key="signed 5") == b"reused"
    assert account.everything() == before


def test_refill_with_a_new_signed_key_needs_its_signature(scripts: ScriptRunner) -> None:
    """Only the stored key may come without."""
    account = Account(scripts, [1], signed_id=5)
    before = account.everything()
    assert account.refill([2], signed_id=6, signature=None) == b"unsigned"
    assert account.everything() == before


def test_refill_compares_signed_key_ids_as_numbers(scripts: ScriptRunner) -> None:
    """10 is greater than 9, though not as text."""
    assert Account(scripts, signed_id=9).refill([], signed_id=10) == b"stored"


def test_refill_for_another_identity_is_stale(scripts: ScriptRunner) -> None:
    """Keys that were checked against an identity no longer in force are not written."""
    account = Account(scripts, [1])
    before = account.everything()
    assert account.refill([2], identity="second") == b"stale"
    assert account.everything() == before


def test_refill_of_an_account_that_is_gone_is_stale(scripts: ScriptRunner) -> None:
    """It leaves nothing behind."""
    account = Account(scripts)
    scripts.redis.delete(account.account)
    assert account.refill([2]) == b"stale"
    assert account.everything() == {}


def test_a_takeover_begins_by_cutting_the_other_sessions_off(scripts: ScriptRunner) -> None:
    """The others are gone, yet listed until the takeover is done."""
    account = Account(scripts)
    kept, other = account.log_in(), account.log_in()
    assert account.begin_takeover(kept, other) is not None
    assert scripts.redis.exists(account.session_key(kept), account.session_key(other)) == 1
    assert set(scripts.redis.zrange(account.sessions, 0, -1)) == {str(kept).encode(), str(other).encode()}


def test_a_takeover_learns_until_when_the_others_have_access(scripts: ScriptRunner) -> None:
    """In their order; of one that is gone already, or of which nobody knows, that is said."""
    account = Account(scripts)
    kept, gone, one, unknown = [account.log_in() for _ in range(4)]
    assert account.begin_takeover(kept) == []
    scripts.redis.delete(account.session_key(gone))
    scripts.redis.hdel(account.session_key(unknown), "access_expires_at")
    until_ms = int(scripts.redis.hget(account.session_key(one), "access_expires_at"))
    assert account.begin_takeover(kept, gone, one, unknown) == [0, until_ms, -1]


def test_a_takeover_by_a_session_that_is_over_does_not_begin(scripts: ScriptRunner) -> None:
    """It cuts nobody off."""
    account = Account(scripts)
    over, other = uuid4(), account.log_in()
    assert account.begin_takeover(over, other) is None
    assert scripts.redis.exists(account.session_key(other)) == 1


def test_of_two_takeovers_one_begins(scripts: ScriptRunner) -> None:
    """Whoever begins first has cut the other off."""
    account = Account(scripts)
    one, two = account.log_in(), account.log_in()
    assert account.begin_takeover(one, two) is not None
    assert account.begin_takeover(two, one) is None
    assert scripts.redis.exists(account.session_key(one)) == 1


def test_takeover_replaces_the_device_as_a_whole(scripts: ScriptRunner) -> None:
    """New keys in; old keys, inbox and other sessions gone; username, password and last entry id stay."""
    account = Account(scripts, [1, 2, 30])
    kept, other = account.log_in(), account.log_in()
    scripts.redis.xadd(account.inbox, {"from": "somebody", "body": "hello"}, id="5-1")
    scripts.redis.hset(account.account, mapping={"inbox_bytes": 5, "inbox_oldest": 5, "inbox_last": "5-1"})
    assert account.take_over(kept, other) == b"stored"
    assert account.stored() == {1: "second 1", 2: "second 2", 3: "second 3"}
    assert scripts.redis.exists(account.inbox) == 0
    assert scripts.redis.zrange(account.sessions, 0, -1) == [str(kept).encode()]
    state = scripts.redis.hmget(account.account, "identity_key", "inbox_bytes", "inbox_oldest", "inbox_last")
    assert state == [b"second", b"0", b"0", b"5-1"]
    assert account.take()[0][0:3] == [b"second", b"4711", b"1"]


def test_takeover_by_a_session_that_is_over_is_refused(scripts: ScriptRunner) -> None:
    """A session that was replaced or logged out changes nothing, whatever its token still says."""
    account = Account(scripts, [1])
    other = account.log_in()
    before = account.everything()
    assert account.take_over(uuid4(), other) == b"ended"
    assert account.everything() == before


def test_takeover_of_another_identity_than_expected_is_stale(scripts: ScriptRunner) -> None:
    """A takeover that came before is not undone by one that has not seen it."""
    account = Account(scripts, [1])
    kept = account.log_in()
    before = account.everything()
    assert account.take_over(kept, expected="another") == b"stale"
    assert account.everything() == before


def test_takeover_is_stale_when_somebody_logged_in_meanwhile(scripts: ScriptRunner) -> None:
    """A session nobody has entered in the list of ended ones must not survive the takeover."""
    account = Account(scripts, [1])
    kept, other = account.log_in(), account.log_in()
    late = account.log_in()
    before = account.everything()
    assert account.take_over(kept, other) == b"stale"
    assert account.everything() == before
    assert account.take_over(kept, other, late) == b"stored"


def test_takeover_of_an_account_that_is_gone_is_stale(scripts: ScriptRunner) -> None:
    """It does not come back half."""
    account = Account(scripts, [1])
    kept = account.log_in()
    scripts.redis.delete(*account.keys)
    assert account.take_over(kept) == b"stale"
    assert scripts.redis.exists(*account.keys) == 0


def test_takeover_may_drop_an_ended_session_that_is_no_longer_listed(scripts: ScriptRunner) -> None:
    """A session that expired between the look and the takeover does not stop it."""
    account = Account(scripts)
    assert account.take_over(account.log_in(), uuid4()) == b"stored"


def test_a_takeover_remembers_the_sessions_that_it_ended(scripts: ScriptRunner) -> None:
    """For a day, and of all takeovers since, but not without bound."""
    account = Account(scripts)
    kept, first, second = account.log_in(), account.log_in(), account.log_in()
    key = keyspace.replaced_sessions(account.id)
    assert account.take_over(kept, first, second) == b"stored"
    third = account.log_in()
    assert account.take_over(kept, third, expected="second", identity="third") == b"stored"
    assert set(scripts.redis.zrange(key, 0, -1)) == {str(session).encode() for session in (first, second, third)}
    assert 86_000_000 < scripts.redis.pttl(key) <= 86_400_000
    scripts.redis.zadd(key, {str(number): 0 for number in range(500)})
    fourth = account.log_in()
    assert account.take_over(kept, fourth, expected="third", identity="fourth") == b"stored"
    assert scripts.redis.zrange(key, 0, -1) == [str(fourth).encode()]
