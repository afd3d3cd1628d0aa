"""One node: builds every object, starts them in order and stops them in the reverse."""

import asyncio
import logging
import os
from contextlib import AsyncExitStack
from uuid import uuid4

from obscura.api import accounts, gateway, keys, management, messages
from obscura.api.app import api_routes, management_routes
from obscura.api.http_server import HttpServer
from obscura.api.middleware import AUTHENTICATE, MAX_JSON_BYTES
from obscura.config import Settings
from obscura.crypto.passwords import Passwords
from obscura.crypto.tokens import AccessTokens
from obscura.errors import StartupError, StoreUnavailable
from obscura.events import parse_event
from obscura.gateway.acks import Acks
from obscura.gateway.hub import Hub
from obscura.gateway.server import Gateway
from obscura.gateway.session import SocketRules, SocketServices
from obscura.services.accounts import Accounts
from obscura.services.janitor import Janitor
from obscura.services.keys import Keys
from obscura.services.messages import Messages
from obscura.services.sessions import SessionRules, Sessions, retry_key
from obscura.store import keyspace
from obscura.store.accounts import AccountStore
from obscura.store.data_dir import load_or_create_jwt_secret
from obscura.store.database import PUBLISH, Database
from obscura.store.embedded import EmbeddedRedis
from obscura.store.keys import KeyStore
from obscura.store.messages import Limits, MessageStore
from obscura.store.sessions import SessionStore
from obscura.telemetry import EVENT_GAPS, PASSWORDS_WAITING

log = logging.getLogger(__name__)

_DAY_SECS = 86_400
_PASSWORDS_WAITING_PER_WORKER = 40  # about a second's work
_READS_AT_ONCE = 128  # inbox pages in memory, of 256 KiB each
_RETRY_SECS = 0.2


class Node:
    """One serving process, to be made inside the event loop that runs it.

    Attributes, after `start`:
        api_port: Where clients connect.
        management_port: Where health and metrics are.
        redis_description: Where the data is, in lines for an operator.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._draining = False
        self._running = AsyncExitStack()  # what to stop, in the reverse order of its start
        self._stopping: asyncio.Task[None] | None = None
        self._resuming: asyncio.Task[None] | None = None
        self.api_port = self.management_port = 0
        self.redis_description = ""

    async def start(self) -> None:
        """Come up whole, or leave nothing running.

        Raises:
            StartupError: A port is taken, Redis cannot be had, the data directory is in use.
        """
        try:
            await self._start_database()
            self._build_services()
            await self._sessions.reload_ended()
            self._build_gateway()
            await self._listen()
        except StoreUnavailable as error:
            await self.stop()
            raise StartupError(f"Redis is not available: {error}") from error
        except BaseException:
            await self.stop()
            raise
        log.info("started", extra={"port": self.api_port, "management_port": self.management_port})

    async def stop(self) -> None:
        """Be not ready at once, say goodbye to every socket, finish what was begun, and end.

        Safe to call again. What takes longer than the shutdown timeout is cut off.
        """
        if self._stopping is None:
            self._draining = True
            self._stopping = asyncio.create_task(self._running.aclose())
        await asyncio.shield(self._stopping)

    async def _start_database(self) -> None:
        settings = self._settings
        url = settings.redis_url
        if url is None:
            embedded = EmbeddedRedis(settings.data_dir)
            self._running.push_async_callback(embedded.stop)
            await embedded.start()
            url = embedded.url
            self.redis_description = f"data in {settings.data_dir.absolute()}\nlook inside: {embedded.cli_line}"
        else:
            self.redis_description = "data in the Redis of OBSCURA_REDIS_URL"
        self._database = Database(url, str(uuid4()), self._on_event, self._on_resumed)
        events = self._database.events
        self._hub = Hub(
            subscribe=lambda user_id: events.subscribe(keyspace.events(user_id)),
            unsubscribe=lambda user_id: events.unsubscribe(keyspace.events(user_id)),
        )
        self._running.push_async_callback(self._stop_resuming)
        self._running.push_async_callback(self._database.stop)
        await self._database.start()

    def _build_services(self) -> None:
        settings, database = self._settings, self._database
        connection, scripts = database.connection, database.scripts
        secrets = settings.jwt_secret or (load_or_create_jwt_secret(settings.data_dir),)
        rules = SessionRules(
            settings.access_token_ttl_secs,
            int(settings.refresh_token_ttl_days * _DAY_SECS * 1000),
            settings.max_sessions_per_account,
            retry_key(secrets[0]) if settings.refresh_token_retry else None,
        )
        limits = Limits(settings.max_inbox_size, settings.max_inbox_bytes, int(settings.ttl_days * _DAY_SECS * 1000))
        message_store = MessageStore(connection, scripts, PUBLISH, limits)
        tokens = AccessTokens(secrets, settings.access_token_ttl_secs)
        passwords = _passwords(settings)
        self._running.callback(passwords.close)

        self._sessions = Sessions(SessionStore(connection, scripts, PUBLISH), tokens, rules)
        self._running.push_async_callback(self._sessions.stop)
        self._keys = Keys(
            KeyStore(connection, scripts, PUBLISH),
            self._sessions,
            settings.pre_key_refill_threshold,
            settings.max_pre_keys,
        )
        self._messages = Messages(message_store, int(settings.messaging_cleanup_interval_secs * 1000))
        self._accounts = Accounts(AccountStore(connection, scripts), self._sessions, passwords, settings.max_pre_keys)
        janitor = Janitor(message_store, settings.messaging_cleanup_interval_secs)
        self._running.push_async_callback(janitor.stop)
        janitor.start()

    def _build_gateway(self) -> None:
        settings = self._settings
        rules = SocketRules(
            page_size=settings.batch_limit,
            outbound_size=settings.ws_outbound_buffer_size,
            write_timeout_secs=settings.ws_write_timeout_secs,
            ping_interval_secs=settings.ws_ping_interval_secs,
            ping_timeout_secs=settings.ws_ping_timeout_secs,
            max_unwritten_acks=2 * settings.max_inbox_size,
        )
        acks = Acks(self._messages.acknowledge, settings.ws_ack_batch_size, settings.ws_ack_flush_interval_ms / 1000)
        acks.start()
        services = SocketServices(rules, self._messages, self._keys, acks, asyncio.Semaphore(_READS_AT_ONCE))
        self._gateway = Gateway(self._hub, services, self._sessions, settings.max_sockets)

    async def _listen(self) -> None:
        settings = self._settings
        patience_secs = settings.shutdown_timeout_secs / 2  # half for the sockets, half for the other requests
        management_server = HttpServer(management_routes(), 0, patience_secs)
        management_server.app[management.CHECKS] = {
            "database": lambda: self._database.is_alive(settings.health_db_timeout_ms / 1000),
            "storage": self._has_storage,
            "events": self._database.is_hearing,
        }
        management_server.app[management.IS_DRAINING] = lambda: self._draining
        self.management_port = await self._open(management_server, settings.mgmt_port)

        api = HttpServer(api_routes(), max(settings.max_message_bytes, MAX_JSON_BYTES), patience_secs)
        api.app[AUTHENTICATE] = self._sessions.authenticate
        api.app[accounts.ACCOUNTS] = self._accounts
        api.app[accounts.SESSIONS] = self._sessions
        api.app[keys.KEYS] = self._keys
        api.app[messages.MESSAGES] = self._messages
        api.app[messages.MAX_MESSAGE_BYTES] = settings.max_message_bytes
        api.app[gateway.GATEWAY] = self._gateway
        self.api_port = await self._open(api, settings.port)
        self._running.push_async_callback(self._gateway.leave, patience_secs)
        self._running.callback(api.stop_accepting)

    async def _open(self, server: HttpServer, port: int) -> int:
        self._running.push_async_callback(server.stop)
        try:
            await server.start(self._settings.host, port)
        except OSError as error:
            raise StartupError(
                f"cannot listen on {self._settings.host} port {port}: {os.strerror(error.errno or 0).lower()}"
            ) from error
        return server.port

    async def _has_storage(self) -> bool:
        # With a Redis elsewhere nothing is stored here: attachments will bring a check of their own.
        return self._settings.redis_url is not None or os.access(self._settings.data_dir, os.W_OK)

    def _on_event(self, channel: str, payload: bytes) -> None:
        if channel == keyspace.ENDED_SESSIONS:
            self._sessions.note_ended(payload)
        elif event := parse_event(payload):
            self._hub.dispatch(keyspace.user_of_events(channel), event)

    def _on_resumed(self) -> None:
        EVENT_GAPS.inc()
        if self._resuming is not None:
            self._resuming.cancel()
        self._resuming = asyncio.create_task(self._resume())

    async def _resume(self) -> None:
        """Make up for a gap in the events: what ended meanwhile, then what arrived."""
        while True:
            try:
                await self._sessions.reload_ended()
            except StoreUnavailable:
                await asyncio.sleep(_RETRY_SECS)
            else:
                self._hub.resume(self._sessions.ended)
                return

    async def _stop_resuming(self) -> None:
        if self._resuming is not None:
            self._resuming.cancel()
            await asyncio.gather(self._resuming, return_exceptions=True)


def _passwords(settings: Settings) -> Passwords:
    workers = settings.password_workers or max(1, (os.cpu_count() or 2) - 1)
    passwords = Passwords(workers, workers * _PASSWORDS_WAITING_PER_WORKER)
    PASSWORDS_WAITING.set_function(lambda: passwords.waiting)
    return passwords
