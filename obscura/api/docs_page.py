"""/docs: the API page, Swagger UI over /openapi.yaml.

Its program and its style come from the package ``offapi``, which is only looked into:
an import would put all of its nine megabytes into memory.
"""

import hashlib
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import distribution
from importlib.resources import files
from pathlib import Path

from aiohttp import hdrs, web

from obscura.errors import NotFound
from obscura.http.route import Route
from obscura.http.streaming import is_not_modified, stream_response

_OURS = Path(str(files("obscura")))
_SWAGGER_UI = Path(str(distribution("offapi").locate_file("offapi")))

_PAGE = _OURS / "docs.html"
_ASSETS = {
    "start.js": _OURS / "docs.js",
    "swagger-ui.css": _SWAGGER_UI / "swagger_style.css",
    "swagger-ui.js": _SWAGGER_UI / "swagger_bundle.js",
}
_CONTENT_TYPES = {".css": "text/css", ".html": "text/html", ".js": "text/javascript"}

# Nothing from elsewhere and nothing inline, but the small pictures that the style carries as data.
_POLICY = "; ".join(
    [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    ]
)
_CHUNK_BYTES = 65_536


async def page(request: web.Request) -> web.StreamResponse:
    """GET /docs: the page, which refers to everything else by relative addresses."""
    return await _answer(request, _PAGE, {"Content-Security-Policy": _POLICY})


async def page_with_slash(_request: web.Request) -> web.Response:
    """GET /docs/: to /docs, from where the relative addresses hold, also behind a proxy that adds a prefix."""
    return web.Response(status=308, headers={hdrs.LOCATION: "../docs"})


async def asset(request: web.Request) -> web.StreamResponse:
    """GET /docs/{name}: one of the files that the page needs.

    Raises:
        NotFound: It is none of them.
    """
    path = _ASSETS.get(request.match_info["name"])
    if path is None:
        raise NotFound("There is no such file")
    return await _answer(request, path, {})


@dataclass(frozen=True, slots=True)
class _Content:
    body: bytes
    etag: str


@cache
def _content(path: Path) -> _Content:
    body = path.read_bytes()
    return _Content(body, f'"{hashlib.sha256(body).hexdigest()[:32]}"')


async def _answer(request: web.Request, path: Path, headers: Mapping[str, str]) -> web.StreamResponse:
    content = _content(path)
    # Kept, but asked about each time: after an update of the server no part of the page is an old one.
    headers = {hdrs.ETAG: content.etag, hdrs.CACHE_CONTROL: "no-cache", **headers}
    if is_not_modified(request, content.etag):
        return web.Response(status=304, headers=headers)
    response = web.StreamResponse(headers=headers)
    response.content_type, response.charset = _CONTENT_TYPES[path.suffix], "utf-8"
    response.content_length = len(content.body)
    if request.method == hdrs.METH_GET:
        await stream_response(request, response, _chunks(content.body))
    return response


async def _chunks(body: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(body), _CHUNK_BYTES):
        yield body[start : start + _CHUNK_BYTES]


ROUTES = (
    Route("GET", "/docs", page, allows_head=True),
    Route("GET", "/docs/", page_with_slash, allows_head=True),
    Route("GET", "/docs/{name}", asset, allows_head=True),
)
