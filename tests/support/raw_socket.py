"""A WebSocket client without manners: it reads nothing unless told to, answers nothing, and may break every rule."""

import array
import asyncio
import fcntl
import select
import socket
import struct
import termios
from dataclasses import dataclass

from obscura.client.websocket import frame, new_key, upgrade_request
from obscura.v1.obscura_pb2 import Envelope, WebSocketFrame

DEADLINE_SECS = 15.0

TEXT, BINARY, CLOSE, PING, PONG = 0x1, 0x2, 0x8, 0x9, 0xA

_RECEIVE_BYTES = 65_536


class _Connection(socket.socket):
    """Closed without a complaint when its test forgets it."""

    def __del__(self) -> None:
        self.close()


@dataclass(frozen=True)
class Frame:
    """One frame, as the server sent it."""

    opcode: int
    payload: bytes

    @property
    def close_code(self) -> int | None:
        """The code of a close frame; None if it carries none."""
        assert self.opcode == CLOSE, self
        return struct.unpack("!H", self.payload[:2])[0] if self.payload else None

    @property
    def close_reason(self) -> str:
        assert self.opcode == CLOSE, self
        return self.payload[2:].decode()

    @property
    def envelope(self) -> Envelope:
        assert self.opcode == BINARY, self
        return WebSocketFrame.FromString(self.payload).envelope


def frame_bytes(opcode: int, payload: bytes = b"", *, final: bool = True) -> bytes:
    """A client's frame, under the mask that changes nothing."""
    return frame(payload, opcode, is_final=final)


class RawSocket:
    """A connection to one node.

    Attributes:
        status: Of the answer to the handshake; 101 after an upgrade.
        headers: Of the answer, names in lower case.
        receive_bytes: How many are read at a time.
    """

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._loop = asyncio.get_running_loop()
        self._received = bytearray()
        self._opcode = 0  # of a message whose fragments are coming
        self._fragments = bytearray()
        self.status = 0
        self.headers: dict[str, str] = {}
        self.receive_bytes = _RECEIVE_BYTES

    @classmethod
    async def connect(cls, port: int, *, receive_buffer_bytes: int | None = None) -> "RawSocket":
        """A TCP connection on which nothing was said yet."""
        connection = _Connection()
        connection.setblocking(False)
        if receive_buffer_bytes is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_bytes)
        raw = cls(connection)
        await raw._loop.sock_connect(connection, ("127.0.0.1", port))
        return raw

    @classmethod
    async def open(
        cls, port: int, token: str, *, receive_buffer_bytes: int | None = None, headers: dict[str, str] | None = None
    ) -> "RawSocket":
        """An upgraded socket."""
        raw = await cls.connect(port, receive_buffer_bytes=receive_buffer_bytes)
        await raw.ask_for_upgrade(f"/v1/gateway?token={token}", headers)
        assert raw.status == 101, raw.status
        return raw

    async def ask_for_upgrade(self, target: str, headers: dict[str, str] | None = None, and_then: bytes = b"") -> None:
        """Send the handshake, and more with it, and read the answer's head.

        A header whose value is empty is left out.
        """
        await self.send_bytes(upgrade_request("localhost", target, new_key(), headers or {}) + and_then)
        async with asyncio.timeout(DEADLINE_SECS):
            while b"\r\n\r\n" not in self._received:
                await self._receive()
        answer, _, rest = bytes(self._received).partition(b"\r\n\r\n")
        self._received = bytearray(rest)
        first, *others = answer.decode("latin-1").split("\r\n")
        self.status = int(first.split()[1])
        self.headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in others)}

    async def body(self) -> bytes:
        """The body of an answer that is no upgrade."""
        size = int(self.headers["content-length"])
        async with asyncio.timeout(DEADLINE_SECS):
            return await self._take(size)

    async def send(self, opcode: int, payload: bytes = b"", *, final: bool = True) -> None:
        await self.send_bytes(frame_bytes(opcode, payload, final=final))

    async def send_bytes(self, data: bytes) -> None:
        async with asyncio.timeout(DEADLINE_SECS):
            await self._loop.sock_sendall(self._connection, data)

    async def frame(self) -> Frame:
        """The next frame. Of a message in fragments all of it, behind the control frames that came in between.

        Raises:
            EOFError: The connection ended before it.
        """
        async with asyncio.timeout(DEADLINE_SECS):
            while True:
                first, payload = await self.raw_frame()
                opcode, is_final = first & 0x0F, bool(first & 0x80)
                if opcode >= CLOSE:
                    assert is_final, "a control frame in fragments (RFC 6455 section 5.5)"
                    return Frame(opcode, payload)
                assert bool(opcode) != bool(self._opcode), "a message amid another (RFC 6455 section 5.4)"
                self._opcode = self._opcode or opcode
                self._fragments += payload
                if is_final:
                    whole = Frame(self._opcode, bytes(self._fragments))
                    self._opcode = 0
                    self._fragments.clear()
                    return whole

    async def raw_frame(self) -> tuple[int, bytes]:
        """First byte and payload of the next frame, be it a message or a fragment."""
        first, second = await self._take(2)
        size = second & 0x7F
        if size == 126:
            (size,) = struct.unpack("!H", await self._take(2))
        elif size == 127:
            (size,) = struct.unpack("!Q", await self._take(8))
        return first, await self._take(size)

    async def frames_until(self, opcode: int) -> list[Frame]:
        """The frames up to the first of a kind, which is the last of them."""
        frames = [await self.frame()]
        while frames[-1].opcode != opcode:
            frames.append(await self.frame())
        return frames

    async def envelopes(self, count: int) -> list[Envelope]:
        """The next envelopes; control frames between them are passed over."""
        envelopes: list[Envelope] = []
        while len(envelopes) < count:
            frame = await self.frame()
            if frame.opcode == BINARY:
                envelopes.append(frame.envelope)
        return envelopes

    async def read_some(self, size: int) -> None:
        """Take bytes off the connection without looking at them; afterwards no frame can be read any more."""
        async with asyncio.timeout(DEADLINE_SECS):
            await self._take(size)

    async def has_ended(self) -> bool:
        """Whether nothing but the end of the connection follows."""
        try:
            await self.frame()
        except (EOFError, ConnectionError):
            return True
        return False

    @property
    def unread_bytes(self) -> int:
        """What has arrived and was not read yet."""
        count = array.array("i", [0])
        fcntl.ioctl(self._connection, termios.FIONREAD, count)
        return len(self._received) + count[0]

    @property
    def was_cut(self) -> bool:
        """Whether the server reset the connection; needs no reading."""
        poll = select.poll()
        poll.register(self._connection, 0)
        return bool(poll.poll(0))

    def end_sending(self) -> None:
        """Send FIN, without a closing handshake."""
        self._connection.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """Send RST."""
        self._connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._connection.close()

    def close(self) -> None:
        """Close the connection, without a closing handshake."""
        self._connection.close()

    async def _take(self, size: int) -> bytes:
        while len(self._received) < size:
            await self._receive()
        taken = bytes(self._received[:size])
        del self._received[:size]
        return taken

    async def _receive(self) -> None:
        data = await self._loop.sock_recv(self._connection, self.receive_bytes)
        if not data:
            raise EOFError
        self._received += data
