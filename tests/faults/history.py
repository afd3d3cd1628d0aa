"""What the clients of a run saw. Times are those of the event loop's clock, in seconds."""

from dataclasses import dataclass, field
from enum import Enum


class Outcome(Enum):
    """What a client knows of a request it made."""

    STORED = "stored"  # 201
    REFUSED = "refused"  # 503
    WRONG = "wrong"  # any other answer
    UNKNOWN = "unknown"  # the connection ended before the answer
    NOT_SENT = "not sent"  # no connection came about


@dataclass(frozen=True, slots=True)
class Attempt:
    """One POST of a message."""

    node: str
    began: float
    ended: float
    outcome: Outcome
    status: int = 0


@dataclass(slots=True)
class Sent:
    """A message that somebody meant to send, and how that went; the number is in its content."""

    number: int
    sender: str
    recipient: str
    keyed: bool
    attempts: list[Attempt] = field(default_factory=list)

    @property
    def is_stored(self) -> bool:
        return bool(self.attempts) and self.attempts[-1].outcome is Outcome.STORED

    @property
    def began(self) -> float:
        return self.attempts[0].began

    @property
    def ended(self) -> float:
        return self.attempts[-1].ended

    @property
    def copies(self) -> int:
        """How often it may be stored: a repeat stores another copy, unless it has an idempotency key."""
        may_be_stored = sum(a.outcome not in (Outcome.NOT_SENT, Outcome.WRONG) for a in self.attempts)
        return min(1, may_be_stored) if self.keyed else may_be_stored


@dataclass(frozen=True, slots=True)
class Seen:
    """An envelope that arrived."""

    socket: int
    recipient: str
    envelope_id: str
    number: int
    at: float


@dataclass(slots=True)
class SocketLife:
    """A gateway socket.

    Attributes:
        reconnecting: When the client began to try, at another node perhaps.
        asked: When it began to connect to this one.
        status: Of the answer to the handshake, 101 after an upgrade, 0 if there was none.
        ended: When the connection was gone; None while it is open.
        is_left: Whether the client began to close it.
        is_flushed: Whether it ended with a closing handshake, after which what was acked stays so.
        acked: The ids of the envelopes it acked.
    """

    number: int
    owner: str
    node: str
    asked: float
    opened: float
    reconnecting: float = 0.0
    status: int = 0
    ended: float | None = None
    close_code: int | None = None
    is_left: bool = False
    is_flushed: bool = False
    acked: set[str] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class KeyTaken:
    """A one-time pre-key that somebody was given."""

    owner: str
    public_key: str
    at: float


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a node said of a session's credentials."""

    session: str
    asked: float
    answered: float
    accepted: bool
    where: str = ""


@dataclass(slots=True)
class SessionLife:
    """When a session was to be accepted, and when no longer.

    Attributes:
        began: When its tokens were handed out.
        end_asked: When somebody asked for its end; from here on either answer is right.
        ended: When the end was confirmed; from here on it is to be refused.
    """

    began: float
    end_asked: float | None = None
    ended: float | None = None


@dataclass(slots=True)
class History:
    """All that was seen in one round.

    Attributes:
        first_number: Of the messages of this round; what has a lower one was left over by an earlier round.
        outages: Times in which acks could not be written, from the fault to the recovery: a socket that ended in one
            of them flushed nothing.
        undone: Times in which a failover may have undone what no replica was waited for: acks, and messages that
            were refused or not answered. They may have reached their recipient before, from what is no more.
        surprises: What no client should see, in words.
    """

    first_number: int = 1
    sent: dict[int, Sent] = field(default_factory=dict)
    seen: list[Seen] = field(default_factory=list)
    sockets: dict[int, SocketLife] = field(default_factory=dict)
    keys: list[KeyTaken] = field(default_factory=list)
    judgements: list[Judgement] = field(default_factory=list)
    sessions: dict[str, SessionLife] = field(default_factory=dict)
    outages: list[tuple[float, float]] = field(default_factory=list)
    undone: list[tuple[float, float]] = field(default_factory=list)
    surprises: list[str] = field(default_factory=list)

    def outcomes(self) -> dict[Outcome, int]:
        """How many attempts ended how."""
        counts = dict.fromkeys(Outcome, 0)
        for message in self.sent.values():
            for attempt in message.attempts:
                counts[attempt.outcome] += 1
        return counts
