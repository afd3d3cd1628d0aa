"""The events channels: what the scripts publish there, as values, and who is told.

The channel of an account carries ``<kind> <word>...``, for a message followed by a line feed
and its bytes; the channel of ended sessions ``<until> <session id>...``, with the second until
which they matter.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from uuid import UUID

from obscura.model.events import Event, MessageStored, PreKeysLow, SessionEnded, TakenOver
from obscura.model.message_ids import EntryId
from obscura.observability.metrics.gateway import EVENT_GAPS
from obscura.store import keyspace

OnEvent = Callable[[UUID, Event], None]  # with the address that owns the channel
OnSessionsEnded = Callable[[Mapping[UUID, int]], None]  # each with the second until which it matters
OnGap = Callable[[Iterable[UUID]], None]  # with the addresses whose events may have been missed


class EventDecoder:
    """Parses what a subscriber hears, and hands it on.

    A subscriber is made before there is anybody to hand to. Until `hand_to` is called nobody is
    connected, and the ended sessions are yet to be loaded: so events and gaps are passed over.
    """

    def __init__(self) -> None:
        self._on_event: OnEvent = _pass_over_event
        self._on_sessions_ended: OnSessionsEnded = _pass_over
        self._on_gap: OnGap = _pass_over

    def hand_to(self, on_event: OnEvent, on_sessions_ended: OnSessionsEnded, on_gap: OnGap) -> None:
        """Say who is told from now on. Each is to return at once."""
        self._on_event = on_event
        self._on_sessions_ended = on_sessions_ended
        self._on_gap = on_gap

    def on_message(self, channel: str, payload: bytes) -> None:
        """A message of a channel came; one that this version does not know is passed over."""
        if channel == keyspace.ENDED_SESSIONS:
            self._on_sessions_ended(parse_ended_sessions(payload))
        elif event := parse_event(payload):
            self._on_event(keyspace.address_of_events(channel), event)

    def on_gap(self, channels: Collection[str]) -> None:
        """Messages of these channels may have been missed."""
        EVENT_GAPS.inc()
        self._on_gap(keyspace.address_of_events(channel) for channel in channels if channel != keyspace.ENDED_SESSIONS)


def parse_event(payload: bytes) -> Event | None:
    """What a message of an account's events channel says; None for one that this version does not know."""
    try:
        return _parse_event(payload)
    except ValueError:
        return None


def parse_ended_sessions(payload: bytes) -> dict[UUID, int]:
    """What a message of the channel of ended sessions says: sessions, each with the second until which it matters."""
    until_secs, *session_ids = payload.decode().split(" ")
    return {UUID(session_id): int(until_secs) for session_id in session_ids}


def _parse_event(payload: bytes) -> Event | None:
    head, has_body, body = payload.partition(b"\n")
    match head.split(b" "):
        case [b"message", entry, previous, sender]:
            return MessageStored(EntryId.parse(entry), EntryId.parse(previous), sender, body if has_body else None)
        case [b"pre-keys-low", count]:
            return PreKeysLow(int(count))
        case [b"takeover"]:
            return TakenOver()
        case [b"session-ended", session_id]:
            return SessionEnded(UUID(session_id.decode()))
        case _:
            return None


def _pass_over(_: object) -> None:
    """Nobody is to be told yet."""


def _pass_over_event(_address_id: UUID, _event: Event) -> None:
    """Nobody is to be told yet."""
