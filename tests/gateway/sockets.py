"""Sockets that the gateway's tests open, and what they show."""

from collections.abc import Callable

from obscura.node.node import Node
from tests.support.client import Api, Socket, User
from tests.support.raw_socket import RawSocket

Connect = Callable[[Node], Api]


async def raw(user: User, **options: object) -> RawSocket:
    """A socket of a user that shows each frame as it came."""
    return await RawSocket.open(user.api.port, user.token, **options)  # type: ignore[arg-type]


async def open_after(socket: Socket, sender: User, recipient: User) -> None:
    """Prove that a socket is open and has nothing but a new message to give."""
    await sender.deliver(recipient, b"still there")
    assert await socket.is_silent_until(b"still there") == []
