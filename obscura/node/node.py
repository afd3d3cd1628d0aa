"""One node: builds every object, starts them in order and stops them in the reverse."""

import asyncio
import logging
import os
from collections.abc import Mapping
from contextlib import AsyncExitStack
from functools import partial
from uuid import uuid4

from obscura.api.management import Readiness, own_metrics
from obscura.api.server import ApiServices, make_api_server, make_management_server
from obscura.blobs.factory import make_blobs
from obscura.crypto.passwords import make_passwords
from obscura.crypto.tokens import AccessTokens
from obscura.data_dir import load_or_create_jwt_secret
from obscura.embedded_redis.server import EmbeddedRedis
from obscura.errors import StartupError, StoreUnavailable
from obscura.gateway.ack_batcher import AckBatcher
from obscura.gateway.gap_recovery import GapRecovery
from obscura.gateway.hub import Hub
from obscura.gateway.options import SocketContext, SocketOptions
from obscura.gateway.server import Gateway
from obscura.gateway.socket_limits import SocketLimits
from obscura.http.server import HttpServer
from obscura.node import parts
from obscura.observability.metrics.delivery import ACKS_WAITING
from obscura.observability.metrics.gateway import SOCKETS_LIMIT
from obscura.observability.metrics.process import READY
from obscura.observability.tracing import Tracing, make_tracing
from obscura.redis_client.client import RedisClient
from obscura.redis_client.health_monitor import RedisHealthMonitor
from obscura.redis_client.pubsub import Callbacks
from obscura.services.accounts import Accounts
from obscura.services.attachments import AttachmentOptions, Attachments
from obscura.services.keys import KeyOptions, Keys
from obscura.services.messages import Messages
from obscura.services.sessions import SessionOptions, Sessions
from obscura.settings import limits
from obscura.settings.model import Settings
from obscura.store import keyspace
from obscura.store.accounts import AccountStore
from obscura.store.attachments import AttachmentStore
from obscura.store.events import EventDecoder
from obscura.store.keys import KeyStore
from obscura.store.messages import InboxLimits, MessageStore
from obscura.store.rate_limits import RateLimit
from obscura.store.sessions import SessionStore

log = logging.getLogger(__name__)

_TRACES_SHARE = 0.2  # of the shutdown timeout


class Node:
    """One serving process, to be made inside the event loop that runs it.

    Args:
        is_worker: It is one of several processes that share the API port. Their supervisor
            has the management port, and the embedded Redis if there is one.

    Attributes, after `start`:
        api_port: Where clients connect.
        management_port: Where health and metrics are; 0 of a worker.
        redis_description: Where the data is, in lines for an operator.
    """

    def __init__(self, settings: Settings, is_worker: bool = False) -> None:
        self._settings = settings
        self._is_worker = is_worker
        self._draining = False
        self._id = str(uuid4())
        self._tracing: Tracing | None = None
        self._running = AsyncExitStack()  # what to stop, in the reverse order of its start
        self._stopping: asyncio.Task[None] | None = None
        self._events = EventDecoder()
        self.api_port = self.management_port = 0
        self.redis_description = ""

    async def start(self) -> None:
        """Come up whole, or leave nothing running.

        Raises:
            StartupError: A port is taken, Redis cannot be had, the data directory is in use, a part is not installed.
        """
        try:
            self._start_tracing()
            await self._start_database()
            await self._start_storage()
            self._build_services()
            await self._sessions.reload_ended()
            self._start_janitors()
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

        Takes the drain time, and then at most the shutdown timeout: what is not done by then
        is cut off. Safe to call again.
        """
        if self._stopping is None:
            self._draining = True
            self._stopping = asyncio.create_task(self._running.aclose())
        await asyncio.shield(self._stopping)

    def _start_tracing(self) -> None:
        settings = self._settings
        if settings.otlp_endpoint is not None:
            self._tracing = make_tracing(settings.otlp_endpoint, settings.otlp_sample_ratio, self._id)
            # A share of the shutdown timeout, for all else has stopped by then, and most likely early.
            self._running.push_async_callback(self._tracing.stop, settings.shutdown_timeout_secs * _TRACES_SHARE)

    async def readiness(self) -> Mapping[str, str]:
        """What /readyz answers, of a node that has started."""
        checks = {
            "database": lambda: self._database.is_alive(self._settings.health_db_timeout_ms / 1000),
            "storage": self._has_storage,
            "events": self._database.is_subscribed,
        }
        return await Readiness(checks, lambda: self._draining)()

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
        self._database = RedisClient(
            url,
            keyspace.client_name(self._id),
            settings.redis_wait_replicas,
            partial(keyspace.probe, self._id),
            Callbacks(self._events.on_message, self._events.on_gap),
        )
        events = self._database.events
        self._hub = Hub(
            subscribe=lambda user_id: events.subscribe(keyspace.events(user_id)),
            unsubscribe=lambda user_id: events.unsubscribe(keyspace.events(user_id)),
        )
        self._running.push_async_callback(self._database.stop)
        await self._database.start({keyspace.ENDED_SESSIONS})
        signs = RedisHealthMonitor(lambda: self._database.commands.masters)
        self._running.push_async_callback(signs.stop)
        signs.start()
        READY.set_function(lambda: not self._draining and self._database.is_connected and events.is_healthy)

    async def _start_storage(self) -> None:
        self._blobs = make_blobs(self._settings)
        self._running.push_async_callback(self._blobs.stop)
        await self._blobs.start()

    def _build_services(self) -> None:
        settings, database = self._settings, self._database
        commands, scripts = database.commands, database.scripts
        secrets = settings.jwt_secret or (load_or_create_jwt_secret(settings.data_dir),)
        session_options = SessionOptions.from_settings(settings, secrets[0])
        message_store = MessageStore(commands, scripts, InboxLimits.from_settings(settings))
        tokens = AccessTokens(secrets, settings.access_token_ttl_secs)
        passwords = make_passwords(settings)
        self._running.callback(passwords.close)

        self._sessions = Sessions(SessionStore(commands, scripts), tokens, session_options)
        self._running.push_async_callback(self._sessions.stop)
        gap_recovery = GapRecovery(self._hub, self._sessions.reload_ended, self._sessions.ended)
        self._running.push_async_callback(gap_recovery.stop)
        self._events.hand_to(self._hub.dispatch, self._sessions.ended.add, gap_recovery.on_gap)
        self._keys = Keys(
            KeyStore(commands, scripts),
            self._sessions,
            RateLimit(scripts, limits.BUNDLE.config(settings)),
            KeyOptions.from_settings(settings),
        )
        self._messages = Messages(message_store, int(settings.messaging_cleanup_interval_secs * 1000))
        self._accounts = Accounts(
            AccountStore(commands, scripts),
            self._sessions,
            passwords,
            RateLimit(scripts, limits.LOGIN.config(settings)),
            settings.max_pre_keys,
        )
        self._auth_limit = RateLimit(scripts, limits.AUTH.config(settings))
        self._attachments = Attachments(
            AttachmentStore(commands, scripts),
            self._blobs,
            AttachmentOptions.from_settings(settings),
        )

    def _start_janitors(self) -> None:
        settings, database = self._settings, self._database
        for kind, sweep, interval_secs in (
            ("messages", self._messages.sweep, settings.messaging_cleanup_interval_secs),
            ("attachments", self._attachments.sweep, settings.storage_cleanup_interval_secs),
        ):
            janitor = parts.make_janitor(kind, database, sweep, interval_secs)
            self._running.push_async_callback(janitor.stop)
            janitor.start()

    def _build_gateway(self) -> None:
        settings = self._settings
        acks = AckBatcher.from_settings(settings, self._messages.acknowledge)
        self._acks = acks
        ACKS_WAITING.set_function(lambda: acks.waiting)
        SOCKETS_LIMIT.set(settings.max_sockets)
        context = SocketContext(SocketOptions.from_settings(settings), self._messages, self._keys, acks)
        self._gateway = Gateway(self._hub, context, self._sessions, SocketLimits.from_settings(settings))

    async def _listen(self) -> None:
        settings = self._settings
        if not self._is_worker:
            management_server = make_management_server(settings, self.readiness, own_metrics)
            self.management_port = await self._open(management_server, settings.mgmt_port)
        services = ApiServices(
            self._accounts,
            self._sessions,
            self._keys,
            self._messages,
            self._attachments,
            self._gateway,
            self._auth_limit.take,
        )
        api = make_api_server(settings, services, self._tracing)
        self.api_port = await self._open(api, settings.port)
        self._acks.start()
        sockets_secs = settings.shutdown_timeout_secs / 2  # the other half is for the other requests
        self._running.push_async_callback(self._gateway.shutdown, sockets_secs)
        self._running.push_async_callback(api.stop_accepting)
        self._running.push_async_callback(self._gateway.drain, settings.drain_secs)
        self._running.callback(api.disable_keep_alive)

    async def _open(self, server: HttpServer, port: int) -> int:
        self._running.push_async_callback(server.stop)
        try:
            await server.start(self._settings.host, port, is_port_shared=self._is_worker)
        except OSError as error:
            raise StartupError(
                f"cannot listen on {self._settings.host} port {port}: {os.strerror(error.errno or 0).lower()}"
            ) from error
        return server.port

    async def _has_storage(self) -> bool:
        try:
            async with asyncio.timeout(self._settings.storage_health_timeout_ms / 1000):
                return await self._blobs.is_available()
        except TimeoutError:
            return False
