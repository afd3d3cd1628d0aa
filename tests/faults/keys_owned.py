"""Whether every key in Redis has a time to live or an owner: nothing may pile up that nobody removes."""

import re
import time
from collections.abc import Iterator, Sequence
from typing import Any

from redis import Redis

from obscura.store import keyspace
from obscura.store.key_kinds import KeyKind, Life

_UUID = r"[0-9a-f-]{36}"
_OTHER_WORDS = {"<key>": ".*", "<number>": r"\d+", "<tier>": r"\w+", "<digest>": "[0-9a-f]{64}", "<name>": "(.*)"}


def _pattern(*kinds: KeyKind) -> re.Pattern[str]:
    """What names of these kinds look like; the account's id, or the name, is the first group."""
    names = (re.escape(kind.name).replace("<uid>", f"({_UUID})") for kind in kinds)
    return re.compile(
        "|".join(re.sub("<[a-z]+>", lambda word: _OTHER_WORDS.get(word[0], _UUID), name) for name in names)
    )


_KEYS = [kind for kind in keyspace.KINDS.rows if kind.life is not Life.CHANNEL]
_MORTAL = _pattern(*(kind for kind in _KEYS if kind.life is Life.EXPIRES))
_LASTING = [kind for kind in _KEYS if kind.life is Life.REMOVED]
_ACCOUNT = _pattern(*(kind for kind in _LASTING if kind.make is keyspace.account))
_NAME = _pattern(*(kind for kind in _LASTING if kind.make is keyspace.username))
_OF_AN_ACCOUNT = [_pattern(kind) for kind in _LASTING if kind.make not in {keyspace.account, keyspace.username}]
_SHARED = {kind.name for kind in _KEYS if kind.life is Life.EMPTIED}
_KEPT = _pattern(*(kind for kind in _KEYS if kind.life is Life.KEPT))
_BATCH = 1000
_CLOCKS_SECS = 120  # an entry of a shared list may be this late


def unowned(servers: Sequence["Redis"]) -> list[str]:
    """A sentence for each key that has neither; ``servers`` are all that hold keys, and speak text."""
    found = {key: (client, ttl) for client in servers for key, ttl in _keys(client)}
    accounts = {match[1] for key in found if (match := _ACCOUNT.fullmatch(key))}
    names = {client.get(key) for key, (client, ttl) in found.items() if _NAME.fullmatch(key) and ttl is None}
    return [
        f"{re.sub(_UUID, '…', key)} has neither a time to live nor an owner"
        for key, (_, ttl) in found.items()
        if ttl is None and not _has_owner(key, accounts, names)
    ] + [fault for client in servers for fault in _overdue(client)]


def count(servers: Sequence["Redis"]) -> int:
    """All keys but those that remember a sent message for a day: as many as were sent."""
    return sum(":idempotency:" not in key for client in servers for key in client.scan_iter(count=_BATCH))


def _keys(client: "Redis") -> Iterator[tuple[str, int | None]]:
    """Each key, with its time to live in milliseconds, None if it has none."""
    keys = list(client.scan_iter(count=_BATCH))
    for first in range(0, len(keys), _BATCH):
        batch = keys[first : first + _BATCH]
        with client.pipeline(transaction=False) as pipeline:
            for key in batch:
                pipeline.pttl(key)
            for key, ttl in zip(batch, pipeline.execute(), strict=True):
                if ttl != -2:  # gone meanwhile
                    yield key, None if ttl == -1 else ttl


def _has_owner(key: str, accounts: set[str], names: set[Any]) -> bool:
    if _KEPT.fullmatch(key):
        return True
    if _MORTAL.fullmatch(key):
        return False
    if match := next(filter(None, (pattern.fullmatch(key) for pattern in _OF_AN_ACCOUNT)), None):
        return match[1] in accounts
    if match := _ACCOUNT.fullmatch(key):
        return match[1] in names
    return bool(_NAME.fullmatch(key)) or key in _SHARED


def _overdue(client: "Redis") -> Iterator[str]:
    """Entries of the shared lists that should have been removed."""
    now = time.time()
    limits = {
        keyspace.ENDED_SESSIONS: now - _CLOCKS_SECS,
        keyspace.INBOX_EXPIRY: (now - _CLOCKS_SECS) * 1000,
        keyspace.ATTACHMENT_EXPIRY: (now - _CLOCKS_SECS) * 1000,
    }
    for key, limit in limits.items():
        if client.exists(key) and (late := client.zcount(key, "-inf", limit)):
            yield f"{late} entries of {key} are overdue"
