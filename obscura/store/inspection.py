"""What an operator may look at: counts, times and sizes, read without changing anything.

Nothing here returns a password hash, a token's digest, a key or a message.
"""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from uuid import UUID

from obscura.redis_client.commands import CommandExecutor
from obscura.redis_client.connection import CommandConnection
from obscura.redis_client.requirements import parse_info
from obscura.store import keyspace
from obscura.store.messages import sent_ms_of
from obscura.store.node_settings import NodeSettings, read_reports

_KEYS_PER_SCAN = 1000
_MAX_SCANS = 200  # past them the number of accounts is an estimate


@dataclass(frozen=True, slots=True)
class AccountView:
    """One account. Unconfirmed: its registration is under way, or broke off and the account will expire."""

    id: UUID
    username: str
    confirmed: bool
    created_at: datetime
    registration_id: int
    signed_pre_key_id: int
    one_time_pre_keys: int
    waiting_messages: int
    sessions: int


@dataclass(frozen=True, slots=True)
class InboxView:
    """What waits for one account; what has expired counts until it is cleaned up."""

    user_id: UUID
    messages: int
    total_bytes: int
    oldest_at: datetime | None
    newest_at: datetime | None


@dataclass(frozen=True, slots=True)
class SessionView:
    """One session; ``refreshed_at`` is None if it never was."""

    id: UUID
    created_at: datetime
    refreshed_at: datetime | None
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class NodeView:
    """One node, as Redis sees it; ``address`` is where its connections come from. What it goes by is None if untold."""

    id: str
    address: str
    connections: int
    connected_secs: int
    listening: bool
    ttl_days: float | None
    max_inbox_size: int | None
    max_inbox_bytes: int | None


@dataclass(frozen=True, slots=True)
class ServerView:
    """Redis, and what is in it.

    Attributes:
        redis_uptime_secs: Of the one that was started last.
        masters: Servers that the keys are spread over, 1 without a Cluster.
        accounts_counted: Whether ``accounts`` is a count; else it is an estimate.
        memory_limit_bytes: None if there is none.
        inboxes_noted: Those that will be looked after once their oldest message has expired.
        inboxes_due: Those of them that wait for the clean-up at this moment.
    """

    redis_version: str
    redis_uptime_secs: int
    masters: int
    nodes: int
    accounts: int
    accounts_counted: bool
    keys: int
    memory_bytes: int
    memory_limit_bytes: int | None
    operations_per_sec: int
    append_only_file: str
    ended_sessions: int
    inboxes_noted: int
    inboxes_due: int


class Inspection:
    """Every call raises `StoreUnavailable` when Redis is away, and may be repeated."""

    def __init__(self, commands: CommandExecutor) -> None:
        self._commands = commands

    async def account(self, user_id: UUID) -> AccountView | None:
        """None: there is no such account."""
        fields = ("username", "created_at", "registration_id", "signed_pre_key_id")
        key, call = keyspace.account(user_id), self._commands.call
        username, *numbers = await call("HMGET", key, *fields)
        if username is None:
            return None
        created_ms, registration_id, signed_id = map(int, numbers)
        return AccountView(
            id=user_id,
            username=username.decode(),
            confirmed=await call("PTTL", key) < 0,
            created_at=_moment(created_ms),
            registration_id=registration_id,
            signed_pre_key_id=signed_id,
            one_time_pre_keys=await call("ZCARD", keyspace.one_time_order(user_id)),
            waiting_messages=await call("XLEN", keyspace.inbox(user_id)),
            sessions=len(await self.sessions(user_id)),
        )

    async def inbox(self, user_id: UUID) -> InboxView:
        key, call = keyspace.inbox(user_id), self._commands.call
        count: int = await call("XLEN", key)
        if not count:
            return InboxView(user_id, 0, 0, None, None)
        size = await call("HGET", keyspace.account(user_id), "inbox_bytes")
        oldest = await call("XRANGE", key, "-", "+", "COUNT", 1)
        newest = await call("XREVRANGE", key, "+", "-", "COUNT", 1)
        return InboxView(user_id, count, int(size or 0), *(_entry_moment(entries) for entries in (oldest, newest)))

    async def sessions(self, user_id: UUID) -> list[SessionView]:
        """Those alive, the one that expires first first."""
        listed = await self._commands.call("ZRANGE", keyspace.sessions(user_id), 0, -1, "WITHSCORES")
        views = []
        for text, expires_ms in zip(listed[::2], listed[1::2], strict=True):
            session_id = UUID(text.decode())
            times = await self._commands.call(
                "HMGET", keyspace.session(user_id, session_id), "created_at", "rotated_at"
            )
            created, refreshed = (_moment(int(ms)) if ms else None for ms in times)
            if created:  # else it has expired and is still listed
                views.append(SessionView(session_id, created, refreshed, _moment(int(float(expires_ms)))))
        return views

    async def nodes(self) -> list[NodeView]:
        """Every node that is connected to this Redis."""
        clients: defaultdict[str, list[Mapping[str, str]]] = defaultdict(list)
        channels = "CHANNELS" if self._commands.publish == "PUBLISH" else "SHARDCHANNELS"
        listening = set()
        for master in self._commands.masters:
            for line in (await master.call("CLIENT", "LIST")).decode(errors="replace").splitlines():
                client = dict(field.partition("=")[::2] for field in line.split(" "))
                owner, _, node_id = client["name"].partition(":")
                if owner == keyspace.CLIENT_NAME and node_id:
                    clients[node_id].append(client)
            probes = await master.call("PUBSUB", channels, keyspace.ALL_PROBES)
            listening |= keyspace.nodes_of_probes(channel.decode() for channel in probes)
        reports = await read_reports(self._commands)
        return [
            _node_view(node_id, clients[node_id], node_id in listening, reports.get(node_id, NodeSettings()))
            for node_id in sorted({*clients, *listening})
        ]

    async def server(self) -> ServerView:
        call = self._commands.call
        infos = [parse_info(await master.call("INFO")) for master in self._commands.masters]
        now_secs = int((await call("TIME"))[0])
        accounts = [await _count_accounts(master) for master in self._commands.masters]
        limits = [int(info["maxmemory"]) for info in infos]
        return ServerView(
            redis_version=", ".join(sorted({info["redis_version"] for info in infos})),
            redis_uptime_secs=min(int(info["uptime_in_seconds"]) for info in infos),
            masters=len(infos),
            nodes=len(await self.nodes()),
            accounts=sum(count for count, _ in accounts),
            accounts_counted=all(counted for _, counted in accounts),
            keys=sum([await master.call("DBSIZE") for master in self._commands.masters]),
            memory_bytes=sum(int(info["used_memory"]) for info in infos),
            memory_limit_bytes=sum(limits) if all(limits) else None,
            operations_per_sec=sum(int(info["instantaneous_ops_per_sec"]) for info in infos),
            append_only_file="; ".join(sorted({_append_only_state(info) for info in infos})),
            ended_sessions=await call("ZCOUNT", keyspace.ENDED_SESSIONS, now_secs, "+inf"),
            inboxes_noted=await call("ZCARD", keyspace.INBOX_EXPIRY),
            inboxes_due=await call("ZCOUNT", keyspace.INBOX_EXPIRY, "-inf", now_secs * 1000),
        )


async def _count_accounts(master: CommandConnection) -> tuple[int, bool]:
    """The number of names, and whether all keys were looked at; else it is what the keys looked at suggest."""
    cursor, found = b"0", 0
    for _ in range(_MAX_SCANS):
        cursor, names = await master.call("SCAN", cursor, "MATCH", keyspace.ALL_USERNAMES, "COUNT", _KEYS_PER_SCAN)
        found += len(names)
        if cursor == b"0":
            return found, True
    keys: int = await master.call("DBSIZE")
    return round(found * keys / (_MAX_SCANS * _KEYS_PER_SCAN)), False


def _node_view(node_id: str, clients: list[Mapping[str, str]], listening: bool, settings: NodeSettings) -> NodeView:
    addresses = {client["addr"].rpartition(":")[0] for client in clients}
    ages_secs = [int(client["age"]) for client in clients]
    connected_secs = max(ages_secs, default=0)
    return NodeView(node_id, ", ".join(sorted(addresses)), len(clients), connected_secs, listening, **asdict(settings))


def _append_only_state(info: Mapping[str, str]) -> str:
    if info["aof_enabled"] == "0":
        return "off"
    return f"on, last write {info['aof_last_write_status']}, {info.get('aof_delayed_fsync', '0')} delayed syncs"


def _moment(ms: int) -> datetime:
    return datetime.fromtimestamp(ms / 1000, UTC)


def _entry_moment(entries: list[tuple[bytes, list[bytes]]]) -> datetime | None:
    if not entries:
        return None
    entry_id, (_, _, body_field, _) = entries[0]
    return _moment(sent_ms_of(body_field) or int(entry_id.partition(b"-")[0]))
