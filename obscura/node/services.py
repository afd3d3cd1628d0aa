"""The services of a node, each with its store, its limits and its options."""

from contextlib import AsyncExitStack
from dataclasses import dataclass

from obscura.blobs import Blobs
from obscura.clock import SharedClock
from obscura.crypto.passwords import make_passwords
from obscura.crypto.tokens import AccessTokens
from obscura.redis_client.client import RedisClient
from obscura.services.accounts import Accounts
from obscura.services.attachments import AttachmentOptions, Attachments
from obscura.services.keys import KeyOptions, Keys
from obscura.services.messages import Messages
from obscura.services.sessions import SessionOptions, Sessions
from obscura.settings import limits
from obscura.settings.model import Settings
from obscura.store.accounts import AccountStore
from obscura.store.attachment_budgets import AttachmentBudgets, ByteLimits
from obscura.store.attachments import AttachmentStore
from obscura.store.keys import KeyStore
from obscura.store.messages import InboxLimits, MessageStore
from obscura.store.rate_limits import RateLimit
from obscura.store.sessions import SessionStore


@dataclass(frozen=True, slots=True)
class Services:
    """What the API and the gateway of a node ask."""

    sessions: Sessions
    keys: Keys
    messages: Messages
    accounts: Accounts
    attachments: Attachments
    auth_limit: RateLimit


def build_services(
    settings: Settings, redis: RedisClient, clock: SharedClock, blobs: Blobs, running: AsyncExitStack
) -> Services:
    """Build them.

    Args:
        settings: With the secrets of access tokens.
        clock: By which tokens and attachments expire.
        running: Is given what ends their threads and tasks.
    """
    commands, scripts = redis.commands, redis.scripts
    passwords = make_passwords(settings)
    running.callback(passwords.close)
    sessions = Sessions(
        SessionStore(commands, scripts),
        AccessTokens(settings.jwt_secret, settings.access_token_ttl_secs, clock),
        SessionOptions.from_settings(settings, settings.jwt_secret[0]),
        clock,
    )
    running.push_async_callback(sessions.stop)
    keys = Keys(
        KeyStore(commands, scripts),
        sessions,
        RateLimit(scripts, limits.BUNDLE.config(settings)),
        KeyOptions.from_settings(settings),
    )
    messages = Messages(
        MessageStore(commands, scripts, InboxLimits.from_settings(settings)),
        int(settings.messaging_cleanup_interval_secs * 1000),
    )
    accounts = Accounts(
        AccountStore(commands, scripts),
        sessions,
        passwords,
        RateLimit(scripts, limits.LOGIN.config(settings)),
        settings.max_pre_keys,
        clock,
    )
    attachments = Attachments(
        AttachmentStore(commands, scripts),
        blobs,
        AttachmentBudgets(commands, scripts, ByteLimits.from_settings(settings)),
        AttachmentOptions.from_settings(settings),
        clock,
    )
    auth_limit = RateLimit(scripts, limits.AUTH.config(settings))
    return Services(sessions, keys, messages, accounts, attachments, auth_limit)
