"""The only route table, and the HTTP servers that answer by it."""

import asyncio
from collections.abc import Iterable
from importlib.metadata import version
from importlib.resources import files

from aiohttp import web
from aiohttp.web_request import BaseRequest

from obscura.api import accounts, gateway, keys, management, messages
from obscura.api.middleware import answering, error_response

_MAX_HEADER_BYTES = 16_384


def api_routes() -> list[web.RouteDef]:
    """Every route of the API port."""
    return [
        web.post("/v1/users", accounts.register),
        web.post("/v1/sessions", accounts.login),
        web.delete("/v1/sessions", accounts.logout),
        web.post("/v1/sessions/refresh", accounts.refresh),
        web.post("/v1/keys", keys.post_keys),
        # No HEAD: a bundle uses up a key, so asking about one would cost one.
        web.get("/v1/keys/{userId}", keys.get_bundle, allow_head=False),
        web.post("/v1/messages/{recipientId}", messages.post_message),
        web.get("/v1/gateway", gateway.open_gateway, allow_head=False),
        web.get("/openapi.yaml", openapi),
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
    text = files("obscura").joinpath("openapi.yaml").read_text()
    text = text.replace("version: 0.0.0", f"version: {version('obscura')}", 1)
    return web.Response(text=text, content_type="application/yaml")


class HttpServer:
    """One listening port that answers by a route table, every error in JSON.

    Args:
        max_body_bytes: No body of any route is read beyond this.
        shutdown_timeout_secs: How long a stop waits for requests in flight.
    """

    def __init__(self, routes: Iterable[web.RouteDef], max_body_bytes: int, shutdown_timeout_secs: float) -> None:
        self.app = web.Application(client_max_size=max_body_bytes)
        self.app.add_routes(routes)
        self.port = 0
        self._runner = web.AppRunner(self.app, access_log=None, shutdown_timeout=shutdown_timeout_secs)
        self._listener: asyncio.Server | None = None

    async def start(self, host: str, port: int) -> None:
        """Listen.

        Raises:
            OSError: The address is taken, or not ours.
        """
        await self._runner.setup()
        server = self._runner.server
        assert server is not None
        server.request_handler = answering(server.request_handler)  # type: ignore[assignment]  # every one is a Request
        loop = asyncio.get_running_loop()

        def make_protocol() -> web.RequestHandler:
            return _RequestHandler(
                server,
                loop=loop,
                access_log=None,  # type: ignore[arg-type]  # None is its way to say no
                auto_decompress=False,
                max_line_size=_MAX_HEADER_BYTES,
                max_field_size=_MAX_HEADER_BYTES,
            )

        self._listener = await loop.create_server(make_protocol, host, port, backlog=1024)
        self.port = self._listener.sockets[0].getsockname()[1]

    def stop_accepting(self) -> None:
        if self._listener is not None:
            self._listener.close()

    async def stop(self) -> None:
        """Finish the requests in flight and close every connection."""
        self.stop_accepting()
        await self._runner.cleanup()


class _RequestHandler(web.RequestHandler):
    """aiohttp's, but what is no HTTP at all is answered in JSON too."""

    def handle_error(
        self, request: BaseRequest, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> web.StreamResponse:
        if request.writer.output_size > 0:
            raise ConnectionError("the answer is under way already")
        text = "The request is not valid HTTP" if status < 500 else "Internal server error"
        response = error_response(status, text)
        response.force_close()
        return response
