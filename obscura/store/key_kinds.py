"""Kinds of keys and channels, as rows of data: `keyspace` declares one beside each function that makes a name.

Removal of an account, the table in docs/redis-cli.md and the check for keys that nobody removes follow from the rows.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from inspect import signature
from typing import Literal, TypeVar

Type = Literal["string", "hash", "zset", "stream", "channel"]
Maker = TypeVar("Maker", bound=Callable[..., str])

_ACCOUNT_TAG = "{<uid>}"
_PLACEHOLDERS = {
    **dict.fromkeys(("user_id", "address_id", "recipient_id"), "<uid>"),
    "sender_id": "<from>",
    "session_id": "<sid>",
    "attachment_id": "<id>",
    "node_id": "<node id>",
}


class Life(Enum):
    """What ends a key."""

    REMOVED = "somebody who has no more use for it"
    EXPIRES = "Redis, by its time to live"
    EMPTIED = "the removal of its last entry; each is removed by itself"
    CHANNEL = "nothing: a channel is no key"
    KEPT = "nothing: it lives as long as the data"


@dataclass(frozen=True, slots=True)
class KeyKind:
    """One kind of key or channel.

    Attributes:
        name: As operators read it, with <words> in the place of what differs.
        holds: What is in it; of a hash its fields.
        lives: How long, in words.
        make: Makes a name of this kind; None if there is just one.
    """

    name: str
    type: Type
    holds: str
    lives: str
    life: Life
    make: Callable[..., str] | None

    @property
    def is_of_account(self) -> bool:
        """Whether it belongs to an account, carries its hash tag, and goes with it."""
        return _ACCOUNT_TAG in self.name

    @property
    def is_found_by_id(self) -> bool:
        """Whether the id of the account is all that its name is made of."""
        return self.is_of_account and self.name.count("<") == 1 and self.type != "channel"


class KeyKinds:
    """All rows, in the order in which they are declared."""

    def __init__(self) -> None:
        self.rows: list[KeyKind] = []

    def many(
        self, type_: Type, holds: str, lives: str, life: Life = Life.EXPIRES, name: str | None = None
    ) -> Callable[[Maker], Maker]:
        """Declare the kind of key whose names the decorated function makes. The function stays as it is.

        Args:
            name: Only of a function that does more than put its arguments in their places.
        """

        def declare(make: Maker) -> Maker:
            shown = name or make(*(_PLACEHOLDERS.get(word, f"<{word}>") for word in signature(make).parameters))
            self.rows.append(KeyKind(shown, type_, holds, lives, life, make))
            return make

        return declare

    def one(self, name: str, type_: Type, holds: str, lives: str, life: Life = Life.EXPIRES) -> str:
        """Declare a key of which there is one, and return its name."""
        self.rows.append(KeyKind(name, type_, holds, lives, life, None))
        return name

    def keys_of_account(self, user_id: object, life: Life | None = None) -> list[str]:
        """The keys of an account that its id is enough to find, in the order of the rows: all, or those of one life."""
        return [
            kind.make(user_id)
            for kind in self.rows
            if kind.make is not None and kind.is_found_by_id and life in {None, kind.life}
        ]
