"""How many sockets a node has open: in all, of one account, of one client address."""

from dataclasses import dataclass

from obscura.runtime import room_for_sockets
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

    @property
    def in_all_now(self) -> float:
        """`in_all`, or less if the process may not open enough files for so many."""
        return min(self.in_all, room_for_sockets())

    @classmethod
    def from_settings(cls, settings: Settings) -> "SocketLimits":
        """A node's settings, as its gateway goes by them."""
        return cls(settings.max_sockets, settings.max_sockets_per_account, settings.max_sockets_per_address)


class ClientAddressCounts:
    """Counts what is open by client address; an address of which nothing is open takes no memory.

    Attributes:
        in_all: How many are open, whosever they are.
    """

    def __init__(self) -> None:
        self._open: dict[str, int] = {}
        self.in_all = 0

    def __len__(self) -> int:
        """How many addresses are remembered."""
        return len(self._open)

    def of(self, client: str) -> int:
        """How many are open from one address."""
        return self._open.get(client, 0)

    def add(self, client: str) -> None:
        """One more was opened."""
        self._open[client] = self.of(client) + 1
        self.in_all += 1

    def remove(self, client: str) -> None:
        """One that was added is closed."""
        self.in_all -= 1
        left = self._open[client] - 1
        if left:
            self._open[client] = left
        else:
            del self._open[client]
