"""The yardstick: an aiohttp handler that reads the body and answers 201, on the loop the relay uses.

Usage: python -m benchmarks.bare_server PORT
"""

import sys

import uvloop
from aiohttp import web


async def post(request: web.Request) -> web.Response:
    await request.read()
    return web.Response(status=201)


def main() -> None:
    app = web.Application()
    app.router.add_post("/v1/messages/{recipientId}", post)
    web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), access_log=None, print=None, loop=uvloop.new_event_loop())


if __name__ == "__main__":
    main()
