"""Rows of the storage map: declared beside the functions that make the names, and read by what follows from them."""

from uuid import UUID

import pytest

from obscura.store.key_kinds import KeyKinds, Life

USER = UUID(int=1)


@pytest.fixture
def kinds() -> KeyKinds:
    """Two kinds of an account, one of them for good, one channel of it, and one key for all."""
    kinds = KeyKinds()

    @kinds.many("hash", "name, age", "for ever", Life.REMOVED)
    def lasting(user_id: UUID) -> str:
        return f"{{{user_id}}}:lasting"

    @kinds.many("zset", "scores", "a day")
    def passing(user_id: UUID) -> str:
        return f"{{{user_id}}}:passing"

    @kinds.many("string", "a note", "a day")
    def note(user_id: UUID, word: str) -> str:
        return f"{{{user_id}}}:note:{word}"

    @kinds.many("channel", "news", "", Life.CHANNEL)
    def news(user_id: UUID) -> str:
        return f"{{{user_id}}}:news"

    @kinds.many("string", "digests", "a day", name="of:<digest>")
    def hashed(subject: str) -> str:
        return f"of:{hash(subject)}"

    assert kinds.one("list", "zset", "all", "entries until then", Life.EMPTIED) == "list"
    return kinds


def test_a_name_is_shown_with_words_for_what_differs(kinds: KeyKinds) -> None:
    """The name that operators read is made by the function itself, unless it is given."""
    names = [kind.name for kind in kinds.rows]
    assert names == ["{<uid>}:lasting", "{<uid>}:passing", "{<uid>}:note:<word>", "{<uid>}:news", "of:<digest>", "list"]


def test_a_declared_function_stays_as_it_is(kinds: KeyKinds) -> None:
    """Names are made on every request: the declaration costs nothing there."""

    def plain(user_id: UUID) -> str:
        return str(user_id)

    assert kinds.many("string", "something", "a day")(plain) is plain


def test_what_carries_the_tag_of_an_account_is_its_own(kinds: KeyKinds) -> None:
    """Channels too."""
    assert [kind.is_of_account for kind in kinds.rows] == [True, True, True, True, False, False]


def test_the_keys_of_an_account_are_found_by_its_id(kinds: KeyKinds) -> None:
    """Neither a channel nor what needs more than the id; those of one life if one is asked for."""
    assert kinds.keys_of_account(USER) == [f"{{{USER}}}:lasting", f"{{{USER}}}:passing"]
    assert kinds.keys_of_account(USER, Life.REMOVED) == [f"{{{USER}}}:lasting"]
