"""Whether every key in Redis has a time to live or an owner: nothing may pile up that nobody removes."""

import re
import time
from collections.abc import Iterator, Sequence
from typing import Any

from redis import Redis

from obscura.store import keyspace

_UUID = r"[0-9a-f-]{36}"
# What dies by itself, and what dies with its account.
_MORTAL = re.compile(
    rf"obscura:(\{{{_UUID}\}}:(inbox|sessions|session:{_UUID}|idempotency:{_UUID}:.*)"
    rf"|limit:\w+:[0-9a-f]{{64}}|attachment:{_UUID}|janitor:\w+)"
)
_OF_AN_ACCOUNT = re.compile(rf"obscura:\{{({_UUID})\}}:prekeys(:order)?")
_ACCOUNT = re.compile(rf"obscura:\{{({_UUID})\}}:account")
_NAME = re.compile(r"obscura:username:(.*)")
_SHARED = (keyspace.ENDED_SESSIONS, keyspace.INBOX_EXPIRY, keyspace.ATTACHMENT_EXPIRY)
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
    if _MORTAL.fullmatch(key):
        return False
    if match := _OF_AN_ACCOUNT.fullmatch(key):
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
