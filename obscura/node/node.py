"""One node: starts what it is made of in order, and stops it in the reverse."""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from functools import partial
from uuid import uuid4

from obscura.api.server import ApiServices, make_api_server
from obscura.blobs import Blobs
from obscura.blobs.factory import make_blobs
from obscura.clock import SharedClock
from obscura.crypto.tokens import SKEW_ALLOWANCE_SECS
from obscura.errors import StartupError, StoreUnavailable
from obscura.node.database_check import DatabaseCheck
from obscura.node.gateway import build_acks, build_gateway, build_hub
from obscura.node.janitors import start_janitors
from obscura.node.listening import open_management_port, open_port
from obscura.node.own_redis import ensure_redis
from obscura.node.readiness import Check, Readiness
from obscura.node.services import Services, build_services
from obscura.observability.exposition import own_metrics
from obscura.observability.metrics.process import READY
from obscura.observability.tracing import Tracing, make_tracing
from obscura.redis_client.client import RedisClient
from obscura.redis_client.health_monitor import RedisHealthMonitor
from obscura.redis_client.pubsub import Callbacks
from obscura.services.settings_report import SettingsReport
from obscura.settings.model import Settings
from obscura.store import keyspace
from obscura.store.data_marks import DataMarks
from obscura.store.events import EventDecoder
from obscura.store.node_settings import NodeReports, NodeSettings

log = logging.getLogger(__name__)

_TRACES_SHARE = 0.2  # of the shutdown timeout


class Node:
    """One serving process, to be made inside the event loop that runs it.

    Args:
        is_worker: It is one of several processes that share the API port. Their supervisor
            has the management port, and the embedded Redis if there is one.
        now: The machine's clock.

    Attributes, after `start`:
        api_port: Where clients connect.
        management_port: Where health and metrics are; 0 of a worker.
        redis_description: Where the data is, in lines for an operator.
    """

    def __init__(self, settings: Settings, is_worker: bool = False, now: Callable[[], float] = time.time) -> None:
        self._settings = settings
        self._now = now
        self._clock = SharedClock(now)
        self._is_worker = is_worker
        self._is_draining = False
        self._id = str(uuid4())
        self._running = AsyncExitStack()  # what to stop, in the reverse order of its start
        self._stopping: asyncio.Task[None] | None = None
        self._redis: RedisClient
        self._health_monitor: RedisHealthMonitor
        self._database_check: DatabaseCheck
        self._blobs: Blobs
        self._services: Services
        self.api_port = self.management_port = 0
        self.redis_description = ""

    async def start(self) -> None:
        """Come up whole, or leave nothing running.

        Raises:
            StartupError: A port is taken, Redis cannot be had, the data directory is in use, a part is not installed.
        """
        try:
            await self._start()
        except StoreUnavailable as error:
            await self.stop()
            raise StartupError(f"Redis is not available: {error}") from error
        except BaseException:
            await self.stop()
            raise
        log.info("started", extra={"port": self.api_port, "management_port": self.management_port})

    async def stop(self) -> None:
        """Be not ready at once, close every socket, finish what was begun, and end.

        Takes the drain time, and then at most the shutdown timeout: what is not done by then
        is cut off. Safe to call again.
        """
        if self._stopping is None:
            self._is_draining = True
            self._stopping = asyncio.create_task(self._running.aclose())
        await asyncio.shield(self._stopping)

    async def readiness(self) -> Mapping[str, str]:
        """What /readyz answers, of a node that has started."""
        checks: dict[str, Check] = {
            "database": self._database_check,
            "storage": self._has_storage,
            "events": self._redis.is_subscribed,
            "clock": self._has_true_clock,
        }
        return await Readiness(checks, lambda: self._is_draining)()

    async def _start(self) -> None:
        tracing = self._start_tracing()
        settings, self.redis_description = await ensure_redis(self._settings, self._running)
        events = EventDecoder()
        self._redis = await self._connect(settings, events)
        self._database_check = DatabaseCheck(self._redis, settings.health_db_timeout_ms / 1000)
        self._blobs = await self._start_blobs()
        self._services = services = build_services(settings, self._redis, self._clock, self._blobs, self._running)
        hub = build_hub(self._redis, events, services, self._running)
        await services.sessions.reload_ended()  # only now, so that none ends between the list and the events
        start_janitors(settings, self._redis, services, self._running)
        self._start_settings_report(settings)
        acks = build_acks(settings, services)
        self._gateway = build_gateway(settings, hub, acks, services)
        if not self._is_worker:
            self.management_port = await open_management_port(settings, self.readiness, own_metrics, self._running)
        await self._serve_clients(tracing)
        acks.start()

    def _start_settings_report(self, settings: Settings) -> None:
        reports = NodeReports(self._redis.commands, self._redis.scripts)
        report = SettingsReport(reports, self._id, NodeSettings.from_settings(settings))
        self._running.push_async_callback(report.stop)
        report.start()

    def _start_tracing(self) -> Tracing | None:
        settings = self._settings
        if settings.otlp_endpoint is None:
            return None
        tracing = make_tracing(settings.otlp_endpoint, settings.otlp_sample_ratio, self._id)
        # A share of the shutdown timeout, for all else has stopped by then, and most likely early.
        self._running.push_async_callback(tracing.stop, settings.shutdown_timeout_secs * _TRACES_SHARE)
        return tracing

    async def _connect(self, settings: Settings, events: EventDecoder) -> RedisClient:
        """Connect to Redis and watch over it. ``events`` hears what happens in it from now on."""
        assert settings.redis_url is not None
        redis = RedisClient(
            settings.redis_url,
            keyspace.client_name(self._id),
            settings.redis_wait_replicas,
            partial(keyspace.probe, self._id),
            Callbacks(events.on_message, events.on_gap),
            keyspace.DATA_MARKS,
        )
        self._running.push_async_callback(redis.stop)
        await redis.start({keyspace.ENDED_SESSIONS})
        redis.data_mark.remember(await DataMarks(redis.commands, redis.scripts).make())
        monitor = RedisHealthMonitor(lambda: redis.commands.masters, now=self._now, clock=self._clock)
        self._running.push_async_callback(monitor.stop)
        await monitor.start()
        self._health_monitor = monitor
        READY.set_function(lambda: not self._is_draining and redis.is_connected and redis.events.is_healthy)
        return redis

    async def _start_blobs(self) -> Blobs:
        blobs = make_blobs(self._settings)
        self._running.push_async_callback(blobs.stop)
        await blobs.start()
        return blobs

    async def _serve_clients(self, tracing: Tracing | None) -> None:
        """Open the API port, and see to it that a stop first lets the sockets go, and then the requests."""
        settings, services, gateway = self._settings, self._services, self._gateway
        asked = ApiServices(
            services.accounts,
            services.sessions,
            services.keys,
            services.messages,
            services.attachments,
            gateway,
            services.auth_limit.take,
        )
        api = make_api_server(settings, asked, tracing)
        self.api_port = await open_port(
            api, settings.host, settings.port, self._running, is_port_shared=self._is_worker
        )
        sockets_secs = settings.shutdown_timeout_secs / 2  # the other half is for the other requests
        self._running.push_async_callback(gateway.shutdown, sockets_secs)
        self._running.push_async_callback(api.stop_accepting)
        self._running.push_async_callback(gateway.drain, settings.drain_secs)
        self._running.callback(api.disable_keep_alive)

    async def _has_true_clock(self) -> bool:
        return self._health_monitor.skew_secs <= SKEW_ALLOWANCE_SECS

    async def _has_storage(self) -> bool:
        try:
            async with asyncio.timeout(self._settings.storage_health_timeout_ms / 1000):
                return await self._blobs.is_available() and await self._services.attachments.has_room()
        except StoreUnavailable:
            return True  # no fault of the storage
        except TimeoutError:
            return False
