"""The only route tables."""

from functools import cache
from importlib.metadata import version
from importlib.resources import files

from aiohttp import web

from obscura.api import accounts, attachments, gateway, keys, management, messages
from obscura.api import docs_page as docs


def api_routes() -> list[web.RouteDef]:
    """Every route of the API port."""
    return [*auth_routes(), *standard_routes()]


def auth_routes() -> list[web.RouteDef]:
    """Those that the auth tier of the limits counts."""
    return [
        web.post("/v1/users", accounts.register),
        web.post("/v1/sessions", accounts.login),
        web.delete("/v1/sessions", accounts.logout),
        web.post("/v1/sessions/refresh", accounts.refresh),
    ]


def standard_routes() -> list[web.RouteDef]:
    """Those that the standard tier counts, as it does requests for anything that is not there."""
    return [
        web.post("/v1/keys", keys.post_keys),
        # No HEAD: a bundle uses up a key, so asking about one would cost one.
        web.get("/v1/keys/{userId}", keys.get_bundle, allow_head=False),
        web.post("/v1/messages/{recipientId}", messages.post_message),
        web.post("/v1/attachments", attachments.upload),
        web.get("/v1/attachments/{id}", attachments.download, allow_head=False),
        web.head("/v1/attachments/{id}", attachments.download),
        web.get("/v1/gateway", gateway.open_gateway, allow_head=False),
        web.get("/openapi.yaml", openapi),
        web.get("/docs", docs.page),
        web.get("/docs/", docs.page_with_slash),
        web.get("/docs/{name}", docs.asset),
    ]


def management_routes() -> list[web.RouteDef]:
    """Every route of the management port."""
    return [
        web.get("/livez", management.livez),
        web.get("/readyz", management.readyz),
        web.get("/metrics", management.metrics),
    ]


async def openapi(_request: web.Request) -> web.Response:
    """GET /openapi.yaml: the contract, with our version filled in."""
    return web.Response(body=_openapi_bytes(), content_type="application/yaml", charset="utf-8")


@cache
def openapi_text() -> str:
    text = files("obscura").joinpath("openapi.yaml").read_text("utf-8")
    return text.replace("version: 0.0.0", f"version: {version('obscura')}", 1)


@cache
def _openapi_bytes() -> bytes:
    """The same for all: a kept connection holds its last answer until the next request."""
    return openapi_text().encode()
