"""The yardsticks, on the loop the relay uses: a handler that reads the body and answers 201, a socket that echoes.

Usage: python -m benchmarks.bare_server PORT
"""

import sys

import uvloop
from aiohttp import WSMsgType, web


async def post(request: web.Request) -> web.Response:
    await request.read()
    return web.Response(status=201)


async def echo(request: web.Request) -> web.WebSocketResponse:
    socket = web.WebSocketResponse(compress=False)
    await socket.prepare(request)
    async for message in socket:
        if message.type is WSMsgType.BINARY:
            await socket.send_bytes(message.data)
    return socket


def application() -> web.Application:
    app = web.Application()
    app.router.add_post("/v1/messages/{recipientId}", post)
    app.router.add_get("/v1/gateway", echo)
    return app


def main() -> None:
    loop = uvloop.new_event_loop()
    web.run_app(application(), host="127.0.0.1", port=int(sys.argv[1]), access_log=None, print=None, loop=loop)


if __name__ == "__main__":
    main()
