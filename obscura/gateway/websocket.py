"""aiohttp's WebSocket, with what the gateway does itself taken from it."""

from aiohttp import web

_MAX_FRAME_BYTES = 65_536


class WebSocket(web.WebSocketResponse):
    """aiohttp's handshake and its reading of frames, without its closing handshake and its pongs.

    Those are the gateway's. So acks that come before the peer's answer to a close frame still
    count, nothing is sent behind one, and a pong does not wait for a slow reader.
    """

    def __init__(self) -> None:
        super().__init__(
            autoclose=False,
            autoping=False,
            compress=False,
            decode_text=False,
            max_msg_size=_MAX_FRAME_BYTES + 1,  # aiohttp refuses from this size on
        )

    async def close(self, **_: object) -> bool:
        """Nothing: aiohttp calls this at a protocol error, and when a handler has ended."""
        return False

    def is_asked_for_by(self, request: web.Request) -> bool:
        """Whether a request is an opening handshake (RFC 6455 section 4.2.1)."""
        try:
            return bool(self.can_prepare(request))
        except ValueError:
            return False  # a key that is not even ASCII
