"""How many sockets a node has open: in all, of one account, of one client address."""

from dataclasses import dataclass

from obscura.settings.model import Settings


@dataclass(frozen=True, slots=True)
class SocketLimits:
    """How many sockets may be open at a time.

    Attributes:
        in_all: Beyond it a socket is told at once to try another node.
        per_account: Beyond it the one that has been silent for longest is closed.
        per_client_address: Beyond it the request of one is refused.
    """

    in_all: int
    per_account: int
    per_client_address: int

    @classmethod
    def from_settings(cls, settings: Settings) -> "SocketLimits":
        """A node's settings, as its gateway goes by them."""
        return cls(settings.max_sockets, settings.max_sockets_per_account, settings.max_sockets_per_address)


class ClientAddressCounts:
    """Counts what is open by client address; an address of which nothing is open takes no memory."""

    def __init__(self) -> None:
        self._open: dict[str, int] = {}

    def __len__(self) -> int:
        """How many addresses are remembered."""
        return len(self._open)

    def of(self, client: str) -> int:
        """How many are open from one address."""
        return self._open.get(client, 0)

    def add(self, client: str) -> None:
        """One more was opened."""
        self._open[client] = self.of(client) + 1

    def remove(self, client: str) -> None:
        """One that was added is closed."""
        left = self._open[client] - 1
        if left:
            self._open[client] = left
        else:
            del self._open[client]
