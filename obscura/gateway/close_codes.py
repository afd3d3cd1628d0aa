"""Why a socket is closed: what a close frame says (RFC 6455 section 7.4), and what its client does next.

====  ========================  ==========================================  ===================================
code  reason                    when                                        a client
====  ========================  ==========================================  ===================================
1001  Server shutting down      the node stops, or is drained before        connects again, after a random pause
1011  internal error            a fault of ours                             connects again
1013  too many connections      the node is full                            tries later: another node may do
4001  device replaced           another device took the account over        is that account's device no more
4002  newer socket              the account opened one socket too many:     connects again if its user is there,
                                this one was silent for longest             and not at once
4003  session revoked           a logout, or a login too many ended its     logs in again
                                session
====  ========================  ==========================================  ===================================

A peer that breaks the WebSocket protocol is told the code that aiohttp found, without a reason:
1002, 1007 or 1009.
"""

from typing import NamedTuple


class CloseReason(NamedTuple):
    """Code and reason of a close frame."""

    code: int
    text: str


GOING_AWAY = CloseReason(1001, "Server shutting down")
INTERNAL_ERROR = CloseReason(1011, "internal error")
TRY_LATER = CloseReason(1013, "too many connections")
DEVICE_REPLACED = CloseReason(4001, "device replaced")
NEWER_SOCKET = CloseReason(4002, "newer socket")
SESSION_REVOKED = CloseReason(4003, "session revoked")
