"""The storage map: every key and channel in Redis, its type, what it holds and how long it lives.

Every key of an account carries the hash tag ``{user id}``: a script touches one
Cluster slot, and an operator finds all of an account with one pattern.

========================================  ======  ==========================================  =====================
key                                       type    holds                                       lives
========================================  ======  ==========================================  =====================
obscura:username:<name>                   string  user id                                     for ever; a claim 30 s
obscura:{<uid>}:account                   hash    username, password_hash, created_at,        for ever; until the
                                                  identity_key, registration_id,              name is confirmed 1 h
                                                  signed_pre_key_id, signed_pre_key,
                                                  signed_pre_key_signature, inbox_bytes,
                                                  inbox_last, inbox_oldest
obscura:{<uid>}:prekeys                   hash    one-time pre-key by keyId                   with the account
obscura:{<uid>}:prekeys:order             zset    keyId by arrival, oldest lowest             with the account
obscura:{<uid>}:inbox                     stream  from, body                                  TTL after last message
obscura:{<uid>}:idempotency:<from>:<key>  string  body digest and entry id of a sent message  24 h
obscura:{<uid>}:sessions                  zset    session id by expiry, ms                    its longest session
obscura:{<uid>}:session:<sid>             hash    token, created_at, rotated_at,              refresh token's life
                                                  rotated:<digest>
obscura:sessions:ended                    zset    session id by the second until which it     entries until then
                                                  matters
obscura:inboxes:expiry                    zset    user id by the ms when the oldest message   until looked after
                                                  of an inbox that outlives it expires
obscura:limit:<tier>:<digest>             string  the microsecond when a bucket of a limit    until then
                                                  is full again; tier is auth, login, bundle
obscura:attachment:<id>                   hash    size, in bytes; expires_at                  until it expires
obscura:attachments:expiry                zset    attachment id by the ms when it is to be    until its bytes are
                                                  removed; of an upload under way too         gone
obscura:janitor:messages                  string  token of the node that cleans up            10 s, renewed
obscura:janitor:attachments               string  the same, for attachments                   10 s, renewed
obscura:janitor:messages:done             string  nothing; its TTL tells when the last        30 d after it
                                                  clean-up came to its end
obscura:janitor:attachments:done          string  the same, for attachments                   30 d after it
========================================  ======  ==========================================  =====================

Times are milliseconds since the epoch unless the line says otherwise; keys and
signatures are the base64 that the API speaks; digests are SHA-256 in hex.

A limit's digest is that of what it is counted for: a client address (``auth``), the name of
failed logins (``login``), or a user id, a space and the address that asks for its keys
(``bundle``). So Redis does not tell who asked for whom, and nothing that was typed in place
of a name is kept; an operator who knows the name can still find its bucket.

``inbox_last`` is the id of the last entry ever appended and never goes back, even when
the inbox was emptied, taken over or Redis's clock was set back: new ids are always
greater, so no socket's cursor is ever ahead of a new message. ``inbox_oldest`` is a
lower bound of the oldest entry's milliseconds, 0 when the inbox is empty.

Channels: ``obscura:{<uid>}:events`` (what happens to one account), ``obscura:sessions:ended``
(sessions entered in that set), ``obscura:node:<node id>:probe`` (a node listening for itself;
``:probe:<number>`` at each master of a Cluster).

Patterns that an operator's commands look for: ``obscura:{<uid>}:*``, ``obscura:username:*``,
``obscura:node:*:probe*``.
"""

from collections.abc import Iterable
from hashlib import sha256
from uuid import UUID

Id = UUID | str  # in its canonical text

CLIENT_NAME = "obscura"  # of connections, in CLIENT LIST; a node's ends with its id
ENDED_SESSIONS = "obscura:sessions:ended"  # the set, and the channel of the same name
INBOX_EXPIRY = "obscura:inboxes:expiry"
ATTACHMENT_EXPIRY = "obscura:attachments:expiry"
MESSAGE_JANITOR = "obscura:janitor:messages"
ATTACHMENT_JANITOR = "obscura:janitor:attachments"
MESSAGE_JANITOR_DONE = "obscura:janitor:messages:done"
ATTACHMENT_JANITOR_DONE = "obscura:janitor:attachments:done"
ALL_USERNAMES = "obscura:username:*"  # pattern
ALL_PROBES = "obscura:node:*:probe*"  # pattern


def username(name: str) -> str:
    return f"obscura:username:{name}"


def account(user_id: Id) -> str:
    return f"obscura:{{{user_id}}}:account"


def one_time_keys(user_id: UUID) -> str:
    return f"obscura:{{{user_id}}}:prekeys"


def one_time_order(user_id: UUID) -> str:
    return f"obscura:{{{user_id}}}:prekeys:order"


def inbox(user_id: Id) -> str:
    return f"obscura:{{{user_id}}}:inbox"


def idempotency(recipient_id: Id, sender_id: Id, key: str) -> str:
    return f"obscura:{{{recipient_id}}}:idempotency:{sender_id}:{key}"


def sessions(user_id: UUID) -> str:
    return f"obscura:{{{user_id}}}:sessions"


def session(user_id: UUID, session_id: UUID) -> str:
    return f"obscura:{{{user_id}}}:session:{session_id}"


def events(user_id: Id) -> str:
    """Channel."""
    return f"obscura:{{{user_id}}}:events"


def user_of_events(channel: str) -> UUID:
    """The account an events channel belongs to: the inverse of `events`."""
    return UUID(channel[len("obscura:{") : -len("}:events")])


def limit(tier: str, subject: str) -> str:
    return f"obscura:limit:{tier}:{sha256(subject.encode()).hexdigest()}"


def attachment(attachment_id: UUID) -> str:
    return f"obscura:attachment:{attachment_id}"


def client_name(node_id: str) -> str:
    """What CLIENT LIST calls the connections of a node."""
    return f"{CLIENT_NAME}:{node_id}"


def probe(node_id: str, number: int | None = None) -> str:
    """Channel. In a Cluster a node has one at each master, with a ``number`` that makes it that master's."""
    return f"obscura:node:{node_id}:probe" if number is None else f"obscura:node:{node_id}:probe:{number}"


def nodes_of_probes(channels: Iterable[str]) -> set[str]:
    """The nodes that probe channels belong to: the inverse of `probe`."""
    return {channel.split(":")[2] for channel in channels}


def account_pattern(user_id: UUID) -> str:
    """Pattern of every key of an account."""
    return f"obscura:{{{user_id}}}:*"
