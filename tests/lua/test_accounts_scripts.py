import json
import secrets
from uuid import UUID, uuid4

import pytest

from obscura.store import keyspace
from tests.support.scripts import ScriptRunner

FIELDS = ["username", "alice", "password_hash", "$argon2id$1"]
ONE_TIME = ["7", "key-7", "3", "key-3"]
FOR_EVER = -1
GONE = -2


@pytest.fixture
def user_id() -> UUID:
    return uuid4()


@pytest.fixture
def name() -> str:
    """The key of a name that nobody has."""
    return keyspace.username(secrets.token_hex(8))


def account_keys(user_id: UUID) -> list[str]:
    return [keyspace.account(user_id), keyspace.one_time_keys(user_id), keyspace.one_time_order(user_id)]


def create(scripts: ScriptRunner, user_id: UUID, unconfirmed_ms: int = 60_000, one_time: list[str] = ONE_TIME) -> int:
    args = [json.dumps(FIELDS), json.dumps(one_time), unconfirmed_ms]
    return scripts.run("accounts_create", account_keys(user_id), args)


def test_create_writes_the_whole_account(scripts: ScriptRunner, user_id: UUID) -> None:
    """All fields are there, the inbox starts empty, and one-time keys keep the order of the request."""
    assert create(scripts, user_id) == 1
    account, one_time, order = account_keys(user_id)
    assert scripts.redis.hgetall(account) == {
        b"username": b"alice",
        b"password_hash": b"$argon2id$1",
        b"inbox_bytes": b"0",
        b"inbox_last": b"0-0",
        b"inbox_oldest": b"0",
    }
    assert scripts.redis.hgetall(one_time) == {b"7": b"key-7", b"3": b"key-3"}
    assert scripts.redis.zrange(order, 0, -1, withscores=True) == [(b"7", 1.0), (b"3", 2.0)]


def test_a_created_account_expires_until_it_is_kept(scripts: ScriptRunner, user_id: UUID) -> None:
    """A registration that dies leaves no key of its account for ever."""
    create(scripts, user_id, unconfirmed_ms=60_000)
    for key in account_keys(user_id):
        assert 0 < scripts.redis.pttl(key) <= 60_000, key
    assert scripts.run("accounts_keep", account_keys(user_id)) == 1
    for key in account_keys(user_id):
        assert scripts.redis.pttl(key) == FOR_EVER, key


def test_create_may_be_repeated(scripts: ScriptRunner, user_id: UUID) -> None:
    """The same arguments once more change nothing."""
    create(scripts, user_id)
    before = [scripts.redis.dump(key) for key in account_keys(user_id)]
    assert create(scripts, user_id) == 1
    assert [scripts.redis.dump(key) for key in account_keys(user_id)] == before


def test_an_account_may_start_without_one_time_keys(scripts: ScriptRunner, user_id: UUID) -> None:
    """An empty list of pre-keys makes neither of their keys, and the account can be made permanent."""
    assert create(scripts, user_id, one_time=[]) == 1
    assert scripts.redis.exists(*account_keys(user_id)[1:]) == 0
    assert scripts.run("accounts_keep", account_keys(user_id)) == 1


def test_make_permanent_tells_that_the_account_is_gone(scripts: ScriptRunner, user_id: UUID) -> None:
    """An account that expired is not brought back."""
    assert scripts.run("accounts_keep", account_keys(user_id)) == 0
    assert scripts.redis.exists(*account_keys(user_id)) == 0


def test_make_permanent_may_be_repeated(scripts: ScriptRunner, user_id: UUID) -> None:
    """What is permanent stays so."""
    create(scripts, user_id)
    replies = [scripts.run("accounts_keep", account_keys(user_id)) for _ in range(2)]
    assert replies == [1, 1]


def test_rehash_replaces_the_hash_that_was_verified(scripts: ScriptRunner, user_id: UUID) -> None:
    """The verified hash gives way to the new one."""
    create(scripts, user_id)
    account = keyspace.account(user_id)
    assert scripts.run("accounts_rehash", [account], ["$argon2id$1", "$argon2id$2"]) == 1
    assert scripts.redis.hget(account, "password_hash") == b"$argon2id$2"


def test_rehash_leaves_a_hash_alone_that_changed_meanwhile(scripts: ScriptRunner, user_id: UUID) -> None:
    """A newer hash is not overwritten with one of an older password."""
    create(scripts, user_id)
    account = keyspace.account(user_id)
    assert scripts.run("accounts_rehash", [account], ["$argon2id$0", "$argon2id$2"]) == 0
    assert scripts.redis.hget(account, "password_hash") == b"$argon2id$1"


def test_rehash_does_not_make_an_account(scripts: ScriptRunner, user_id: UUID) -> None:
    """An account that is gone stays gone."""
    account = keyspace.account(user_id)
    assert scripts.run("accounts_rehash", [account], ["$argon2id$1", "$argon2id$2"]) == 0
    assert scripts.redis.exists(account) == 0


def test_confirm_makes_a_claim_permanent(scripts: ScriptRunner, user_id: UUID, name: str) -> None:
    """The name is the claimant's for ever, however often it is confirmed."""
    scripts.redis.set(name, str(user_id), px=60_000)
    replies = [scripts.run("usernames_confirm", [name], [str(user_id)]) for _ in range(2)]
    assert replies == [1, 1]
    assert scripts.redis.pttl(name) == FOR_EVER
    assert scripts.redis.get(name) == str(user_id).encode()


def test_confirm_does_not_bring_back_an_expired_claim(scripts: ScriptRunner, user_id: UUID, name: str) -> None:
    """A claim that lapsed leaves the name free."""
    assert scripts.run("usernames_confirm", [name], [str(user_id)]) == 0
    assert scripts.redis.exists(name) == 0


def test_confirm_does_not_touch_the_claim_of_another(scripts: ScriptRunner, user_id: UUID, name: str) -> None:
    """Who lost the claim meanwhile cannot confirm that of the next."""
    scripts.redis.set(name, str(uuid4()), px=60_000)
    assert scripts.run("usernames_confirm", [name], [str(user_id)]) == 0
    assert 0 < scripts.redis.pttl(name) <= 60_000


def test_release_frees_a_confirmed_name(scripts: ScriptRunner, user_id: UUID, name: str) -> None:
    """The name of an account that is gone is free, and freeing it again is harmless."""
    scripts.redis.set(name, str(user_id))
    assert scripts.run("usernames_release", [name], [str(user_id)]) == 1
    assert scripts.redis.pttl(name) == GONE
    assert scripts.run("usernames_release", [name], [str(user_id)]) == 0


def test_release_leaves_a_claim_under_way(scripts: ScriptRunner, user_id: UUID, name: str) -> None:
    """A registration that has not written its account yet does not lose its name."""
    scripts.redis.set(name, str(user_id), px=60_000)
    assert scripts.run("usernames_release", [name], [str(user_id)]) == 0
    assert scripts.redis.exists(name) == 1


def test_release_leaves_the_name_of_another(scripts: ScriptRunner, user_id: UUID, name: str) -> None:
    """A name that was taken anew meanwhile stays taken."""
    scripts.redis.set(name, str(uuid4()))
    assert scripts.run("usernames_release", [name], [str(user_id)]) == 0
    assert scripts.redis.exists(name) == 1


def all_keys(user_id: UUID) -> list[str]:
    return [keyspace.sessions(user_id), *account_keys(user_id), keyspace.inbox(user_id)]


def test_delete_removes_the_whole_account(scripts: ScriptRunner, user_id: UUID) -> None:
    """Account, keys and inbox go in one step."""
    create(scripts, user_id)
    scripts.redis.xadd(keyspace.inbox(user_id), {"from": "somebody", "body": "something"})
    assert scripts.run("accounts_delete", all_keys(user_id)) == b"deleted"
    assert scripts.redis.exists(*all_keys(user_id)) == 0


def test_delete_leaves_an_account_with_a_session(scripts: ScriptRunner, user_id: UUID) -> None:
    """Somebody who logged in meanwhile has an account, until the caller has ended that session too."""
    create(scripts, user_id)
    scripts.redis.zadd(keyspace.sessions(user_id), {"a session": 1})
    before = [scripts.redis.dump(key) for key in all_keys(user_id)]
    assert scripts.run("accounts_delete", all_keys(user_id)) == b"stale"
    assert [scripts.redis.dump(key) for key in all_keys(user_id)] == before


def test_delete_may_be_repeated(scripts: ScriptRunner, user_id: UUID) -> None:
    """What is gone is deleted."""
    create(scripts, user_id)
    replies = [scripts.run("accounts_delete", all_keys(user_id)) for _ in range(2)]
    assert replies == [b"deleted", b"deleted"]
