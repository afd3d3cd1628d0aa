"""/openapi.yaml: the contract as a document."""

from functools import cache
from importlib.metadata import version
from importlib.resources import files

from aiohttp import web

from obscura.http.route import Route


async def openapi(_request: web.Request) -> web.Response:
    """GET /openapi.yaml: the contract, with our version filled in."""
    return web.Response(body=_openapi_bytes(), content_type="application/yaml", charset="utf-8")


@cache
def openapi_text() -> str:
    """The document as it is served."""
    text = files("obscura").joinpath("openapi.yaml").read_text("utf-8")
    return text.replace("version: 0.0.0", f"version: {version('obscura')}", 1)


@cache
def _openapi_bytes() -> bytes:
    """The same for all: a kept connection holds its last answer until the next request."""
    return openapi_text().encode()


ROUTES = (Route("GET", "/openapi.yaml", openapi, allows_head=True),)
