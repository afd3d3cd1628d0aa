"""The servers of both ports: route tables, limits, CORS and the fast path, with what handlers ask."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from obscura.api import accounts, attachments, gateway, keys, management, messages
from obscura.api.fast_path import SendFastPath
from obscura.api.requests import AUTHENTICATE
from obscura.api.routes import API_ROUTES, MANAGEMENT_ROUTES
from obscura.gateway.server import Gateway
from obscura.http.bodies import MAX_JSON_BYTES
from obscura.http.client_address import CLIENT_OF, ClientAddresses
from obscura.http.cors import Cors
from obscura.http.rate_limits import RateLimits
from obscura.http.server import HttpServer, ServerOptions
from obscura.http.token_buckets import LocalTokenBuckets
from obscura.observability.tracing import Tracing
from obscura.services.accounts import Accounts
from obscura.services.attachments import Attachments
from obscura.services.keys import Keys
from obscura.services.messages import Messages
from obscura.services.sessions import Sessions
from obscura.settings import limits
from obscura.settings.model import Settings


@dataclass(frozen=True, slots=True)
class ApiServices:
    """What the handlers of the API ask.

    Attributes:
        count_auth_request: Counts a request of a client in the auth tier, or refuses it.
    """

    accounts: Accounts
    sessions: Sessions
    keys: Keys
    messages: Messages
    attachments: Attachments
    gateway: Gateway
    count_auth_request: Callable[[str], Awaitable[None]]


def make_api_server(settings: Settings, services: ApiServices, tracing: Tracing | None) -> HttpServer:
    """Make the server of the API port, for the caller to start and stop."""
    max_body_bytes = max(settings.max_message_bytes, MAX_JSON_BYTES)
    server = HttpServer(API_ROUTES, ServerOptions.from_settings(settings, max_body_bytes))
    server.tracing = tracing
    server.app[AUTHENTICATE] = services.sessions.authenticate
    server.app[accounts.ACCOUNTS] = services.accounts
    server.app[accounts.SESSIONS] = services.sessions
    server.app[keys.KEYS] = services.keys
    server.app[keys.BUNDLE_REQUIRES_LOGIN] = settings.bundle_requires_login
    server.app[attachments.ATTACHMENTS] = services.attachments
    server.app[messages.MESSAGES] = services.messages
    server.app[messages.MAX_MESSAGE_BYTES] = settings.max_message_bytes
    server.app[gateway.GATEWAY] = services.gateway
    if settings.cors_origins:  # before the limits: a preflight costs nothing
        Cors(settings.cors_origins, API_ROUTES).install(server.app)
    _limit(server, settings, services)
    return server


def make_management_server(
    settings: Settings,
    readiness: Callable[[], Awaitable[Mapping[str, str]]],
    metrics: Callable[[], Awaitable[bytes]],
) -> HttpServer:
    """Make the server of the management port, for the caller to start and stop."""
    server = HttpServer(MANAGEMENT_ROUTES, ServerOptions.from_settings(settings, max_body_bytes=0))
    server.app[management.READINESS] = readiness
    server.app[management.METRICS] = metrics
    return server


def _limit(server: HttpServer, settings: Settings, services: ApiServices) -> None:
    """Count the requests of each client."""
    client_of = server.app[CLIENT_OF] = ClientAddresses(settings.trusted_proxies).of
    standard = LocalTokenBuckets(limits.STANDARD.config(settings))
    RateLimits(standard.take, services.count_auth_request, API_ROUTES).install(server.app)
    server.fast_path = SendFastPath(
        client_of, standard.take, services.sessions.authenticate, services.messages, settings.max_message_bytes
    )
