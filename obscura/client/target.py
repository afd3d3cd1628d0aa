"""Where a node of the relay listens."""

import asyncio
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar
from urllib.parse import urlsplit

_Protocol = TypeVar("_Protocol", bound=asyncio.Protocol)


@dataclass(frozen=True, slots=True)
class Target:
    """One node, by the URL it was given with."""

    host: str
    port: int
    tls: bool

    @classmethod
    def parse(cls, url: str) -> "Target":
        """From ``http://host:port`` or ``https://host``.

        Raises:
            ValueError: It is another kind of URL, or says more than where to connect.
        """
        parts = urlsplit(url)
        try:
            port = parts.port
        except ValueError:
            raise ValueError(f"{url!r} has no port from 0 to 65535") from None
        if parts.scheme not in {"http", "https"} or not parts.hostname or parts.path.strip("/") or parts.query:
            raise ValueError(f"{url!r} is not like http://host:port")
        if parts.username is not None:
            raise ValueError("the URL of a node holds no username")
        tls = parts.scheme == "https"
        return cls(parts.hostname, port or (443 if tls else 80), tls)

    def __str__(self) -> str:
        return f"http{'s' * self.tls}://{self.authority}"

    @property
    def authority(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    async def connect(self, make: Callable[[], _Protocol]) -> _Protocol:
        """Open a connection; `OSError` if there is none to be had."""
        context = ssl.create_default_context() if self.tls else None
        _, protocol = await asyncio.get_running_loop().create_connection(make, self.host, self.port, ssl=context)
        return protocol
