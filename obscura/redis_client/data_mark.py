"""Whether the data in Redis are still those that this process works with.

A Redis that was emptied, or replaced by one with other data, answers as if all were well.
So the data are marked, and a process remembers the mark that it found at its start.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import hiredis

from obscura.errors import UnfitRedis
from obscura.redis_client.transport import Argument

_ELSEWHERE = ("MOVED", "ASK", "TRYAGAIN", "CLUSTERDOWN")  # a mark of another master of the Cluster, or on its way
_WAY_OUT = "put the data back, or restart the nodes to go on with what is there"


@dataclass(frozen=True, slots=True)
class DataMark:
    """Which data these are.

    Attributes:
        id: Of the relay.
        generation: Never falls.
    """

    id: str
    generation: int

    @classmethod
    def parse(cls, reply: Sequence[bytes | None]) -> Self | None:
        """Read the two fields of a mark; None: there is none."""
        id_, generation = reply
        return None if id_ is None else cls(id_.decode(), int(generation or 0))


class RememberedMark:
    """The mark that this process has found, which each server is asked for.

    Args:
        keys: Where it is; in a Cluster each master has some of them, and refuses the others.
    """

    def __init__(self, keys: Sequence[str]) -> None:
        self.questions: list[tuple[Argument, ...]] = [("HMGET", key, "id", "generation") for key in keys]
        self._mark: DataMark | None = None

    def remember(self, mark: DataMark) -> None:
        """From now on other data will not do."""
        self._mark = mark

    def check(self, replies: Sequence[Any]) -> None:
        """Compare the replies to `questions`, errors among them.

        Raises:
            UnfitRedis: The mark is gone, or is another one.
            Exception: That stands in place of a reply.
        """
        if self._mark is None:
            return
        for reply in replies:
            if isinstance(reply, hiredis.ReplyError) and str(reply).startswith(_ELSEWHERE):
                continue
            if isinstance(reply, Exception):
                raise reply
            found = DataMark.parse(reply)
            if found is None:
                raise UnfitRedis(f"the data in Redis have vanished, it has none of this relay: {_WAY_OUT}")
            if found.id != self._mark.id:
                raise UnfitRedis(f"Redis has other data than before, of another relay: {_WAY_OUT}")
            if found.generation < self._mark.generation:
                raise UnfitRedis(f"Redis has data of an earlier time than before: {_WAY_OUT}")
