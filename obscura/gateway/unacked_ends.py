"""Envelopes at which connections end, time after time: what their recipients cannot take.

A client that gives up at an envelope, as one that is larger than its library takes, gets it
again on the next connection and nothing behind it. It cannot say so, but its operator can see.
"""

import logging
from uuid import UUID

from aiohttp import WebSocketError, WSMessage, WSMsgType

from obscura.gateway.in_flight import InFlightMessages
from obscura.model.message_ids import EntryId
from obscura.observability.logs import ThrottleFilter
from obscura.observability.metrics.delivery import MESSAGES_REJECTED

_REJECTED = "an envelope ended connections of its recipient, unacked"

log = logging.getLogger(__name__)
log.addFilter(ThrottleFilter(_REJECTED, 1.0))  # many clients may go without a word at once

TOLERATED_ENDS = 2
"""So many connections in a row may end at an envelope, as on a bad network; the next one is told."""

_MAX_INBOXES = 10_000  # remembered; past them those whose connections ended longest ago are forgotten
_TOO_BIG = 1009  # RFC 6455 section 7.4.1
_GOODBYES = (1000, 1001, 1005)  # without a fault; 1005: without a code


class UnackedEnds:
    """For each inbox the envelope at which its last connection here ended, and how many in a row did."""

    def __init__(self) -> None:
        self._by_address: dict[UUID, tuple[EntryId, int]] = {}

    def __len__(self) -> int:
        """How many inboxes are remembered."""
        return len(self._by_address)

    def note(self, address_id: UUID, in_flight: InFlightMessages, last: WSMessage) -> None:
        """A connection was ended by its peer or by the network.

        Args:
            in_flight: What it was sent and has not acked.
            last: What came last: a close frame, an error or the connection's end.
        """
        code = (last.data or 1005) if last.type is WSMsgType.CLOSE else None
        if code in _GOODBYES or isinstance(last.data, WebSocketError):
            return
        suspect = in_flight.largest if code == _TOO_BIG else in_flight.oldest
        if suspect is None:
            return
        entry, ends = self._by_address.pop(address_id, (None, 0))
        ends = ends + 1 if entry == suspect.entry else 1
        self._by_address[address_id] = suspect.entry, ends
        if len(self._by_address) > _MAX_INBOXES:
            del self._by_address[next(iter(self._by_address))]
        if ends == TOLERATED_ENDS + 1:
            MESSAGES_REJECTED.inc()
            log.warning(
                _REJECTED,
                extra={"connections": ends, "body_bytes": suspect.body_bytes, "close_code": code},
            )
