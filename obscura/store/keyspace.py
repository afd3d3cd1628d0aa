"""Every key and channel in Redis: what it is called, what it holds and how long it lives.

Every key of an account carries the hash tag ``{user id}``: a script touches one
Cluster slot, and an operator finds all of an account with one pattern.

Times are milliseconds since the epoch unless the row says otherwise; keys and
signatures are the base64 that the API speaks; digests are SHA-256 in hex.

A limit's digest is that of what it is counted for: a client address (``auth``), the name of
failed logins (``login``), or an address id, a space and the client address that asks for its
keys (``bundle``). So Redis does not tell who asked for whom, and nothing that was typed in
place of a name is kept; an operator who knows the name can still find its bucket.

``inbox_last`` is the id of the last entry ever appended and never goes back, even when
the inbox was emptied, taken over or Redis's clock was set back: new ids are always
greater, so no socket's cursor is ever ahead of a new message. ``inbox_oldest`` is a
lower bound of the oldest entry's milliseconds, 0 when the inbox is empty. ``inbox_count`` is how
many entries there are, so that those of an inbox that died as a whole can be counted.
"""

from collections.abc import Iterable
from hashlib import sha256
from uuid import UUID

from obscura.store import device_keys
from obscura.store.key_kinds import KeyKinds, Life

Id = UUID | str  # in its canonical text

KINDS = KeyKinds()

_PERSON_FIELDS = ("username", "password_hash", "created_at")
_INBOX_FIELDS = ("inbox_bytes", "inbox_count", "inbox_last", "inbox_oldest")

CLIENT_NAME = "obscura"  # of connections, in CLIENT LIST; a node's ends with its id


@KINDS.many("string", "user id", "for ever; a claim 30 s", Life.REMOVED)
def username(name: str) -> str:
    return f"obscura:username:{name}"


@KINDS.many(
    "hash",
    ", ".join((*_PERSON_FIELDS, *device_keys.BUNDLE_FIELDS, device_keys.ONE_TIME_DIGEST_FIELD, *_INBOX_FIELDS)),
    "for ever; until the name is confirmed 1 h",
    Life.REMOVED,
)
def account(user_id: Id) -> str:
    return f"obscura:{{{user_id}}}:account"


@KINDS.many("hash", "one-time pre-key by keyId", "with the account", Life.REMOVED)
def one_time_keys(address_id: UUID) -> str:
    return f"obscura:{{{address_id}}}:prekeys"


@KINDS.many("zset", "keyId by arrival, oldest lowest", "with the account", Life.REMOVED)
def one_time_order(address_id: UUID) -> str:
    return f"obscura:{{{address_id}}}:prekeys:order"


@KINDS.many("string", "nothing; while it is there its owner is not told again that no one-time pre-key is left", "60 s")
def told_of_no_keys(address_id: UUID) -> str:
    return f"obscura:{{{address_id}}}:prekeys:told"


@KINDS.many("stream", "from, body (body@<ms> if the id is ahead of the time)", "TTL after last message")
def inbox(address_id: Id) -> str:
    return f"obscura:{{{address_id}}}:inbox"


@KINDS.many("string", "body digest and entry id of a sent message", "24 h")
def idempotency(recipient_id: Id, sender_id: Id, key: str) -> str:
    return f"obscura:{{{recipient_id}}}:idempotency:{sender_id}:{key}"


@KINDS.many("zset", "session id by expiry, ms", "its longest session")
def sessions(user_id: UUID) -> str:
    return f"obscura:{{{user_id}}}:sessions"


@KINDS.many("zset", "session ids that takeovers ended", "24 h after the last takeover")
def replaced_sessions(user_id: UUID) -> str:
    return f"obscura:{{{user_id}}}:sessions:replaced"


@KINDS.many("hash", "token, created_at, rotated_at, rotated:<digest>, access_expires_at", "refresh token's life")
def session(user_id: UUID, session_id: UUID) -> str:
    return f"obscura:{{{user_id}}}:session:{session_id}"


ENDED_SESSIONS = KINDS.one(
    "obscura:sessions:ended",
    "zset",
    "session id by the second after which it can be forgotten",
    "entries until then",
    Life.EMPTIED,
)
INBOX_EXPIRY = KINDS.one(
    "obscura:inboxes:expiry",
    "zset",
    "address id by the ms when the oldest message of an inbox expires: of one that waits, or outlives it",
    "entries until looked after",
    Life.EMPTIED,
)
INBOX_TTL = KINDS.one(
    "obscura:inboxes:ttl", "string", "the ms of the TTL that every inbox is known to live by", "a year after it was set"
)


@KINDS.many(
    "string",
    "the microsecond when a bucket of a limit is full again; tier is auth, login, bundle",
    "until then",
    name="obscura:limit:<tier>:<digest>",
)
def limit(tier: str, subject: str) -> str:
    return f"obscura:limit:{tier}:{sha256(subject.encode()).hexdigest()}"


@KINDS.many("hash", "size, in bytes; expires_at", "until it expires")
def attachment(attachment_id: UUID) -> str:
    return f"obscura:attachment:{attachment_id}"


@KINDS.many(
    "string",
    "bytes of attachments that the account has stored since the first of them",
    "24 h after it",
    Life.REMOVED,
)
def attachment_bytes(user_id: UUID) -> str:
    return f"obscura:{{{user_id}}}:attachments:bytes"


ATTACHMENT_TOTALS = KINDS.one(
    "obscura:attachments:bytes",
    "hash",
    "bytes of all attachments by the ms until which they count; a while longer than until they expire",
    "until the last of these",
)
ATTACHMENT_EXPIRY = KINDS.one(
    "obscura:attachments:expiry",
    "zset",
    "attachment id by the ms when it is to be removed; of an upload under way too",
    "entries until the bytes are gone",
    Life.EMPTIED,
)
MESSAGE_JANITOR = KINDS.one(
    "obscura:janitor:messages", "string", "token of the node that cleans up messages", "10 s, renewed"
)
ATTACHMENT_JANITOR = KINDS.one(
    "obscura:janitor:attachments", "string", "token of the node that cleans up attachments", "10 s, renewed"
)
MESSAGE_JANITOR_DONE = KINDS.one(
    "obscura:janitor:messages:done",
    "string",
    "nothing; its TTL tells when the last clean-up of messages came to its end",
    "30 d after it",
)
ATTACHMENT_JANITOR_DONE = KINDS.one(
    "obscura:janitor:attachments:done",
    "string",
    "nothing; its TTL tells when the last clean-up of attachments came to its end",
    "30 d after it",
)

NODE_SETTINGS = KINDS.one(
    "obscura:nodes",
    "hash",
    "by node id: the ms of its last report, and what it goes by",
    "a minute after the last report",
)


@KINDS.many("hash", "id of this relay's data; generation, how often its own Redis was started", "for ever", Life.KEPT)
def data_mark(number: int) -> str:
    """Without a Cluster there is number 0; of a Cluster every master has some of `DATA_MARKS`."""
    return f"obscura:data:{number}"


@KINDS.many(
    "stream", "nothing: it is written and removed in one step, to see whether that is possible", "no time at all"
)
def health(number: int) -> str:
    """Of a Cluster every master has some of these."""
    return f"obscura:health:{number}"


@KINDS.many("channel", "what happens to one account", "", Life.CHANNEL)
def events(address_id: Id) -> str:
    return f"obscura:{{{address_id}}}:events"


# The channel has the name of the set.
KINDS.one(ENDED_SESSIONS, "channel", "sessions that are entered in the set of this name", "", Life.CHANNEL)


@KINDS.many("channel", "the same, at each master of a Cluster", "", Life.CHANNEL)
@KINDS.many("channel", "a node that listens for itself", "", Life.CHANNEL, name="obscura:node:<node id>:probe")
def probe(node_id: str, number: int | None = None) -> str:
    """With a ``number`` that makes it that of one master: in a Cluster a node has one at each."""
    return f"obscura:node:{node_id}:probe" if number is None else f"obscura:node:{node_id}:probe:{number}"


DATA_MARKS = tuple(data_mark(number) for number in range(64))
ALL_USERNAMES = username("*")  # a pattern
ALL_INBOXES = inbox("*")  # a pattern
ALL_PROBES = f"{probe('*')}*"  # a pattern


def client_name(node_id: str) -> str:
    """What CLIENT LIST calls the connections of a node."""
    return f"{CLIENT_NAME}:{node_id}"


def account_pattern(user_id: UUID) -> str:
    """Pattern of every key of an account."""
    return f"obscura:{{{user_id}}}:*"


def address_of_events(channel: str) -> UUID:
    """The address an events channel belongs to: the inverse of `events`."""
    return UUID(channel[len("obscura:{") : -len("}:events")])


def address_of_inbox(key: str) -> UUID:
    """The address an inbox belongs to: the inverse of `inbox`."""
    return UUID(key[len("obscura:{") : -len("}:inbox")])


def nodes_of_probes(channels: Iterable[str]) -> set[str]:
    """The nodes that probe channels belong to: the inverse of `probe`."""
    return {channel.split(":")[2] for channel in channels}
