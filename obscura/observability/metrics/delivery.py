"""Metrics of messages from the send to the ack."""

from obscura.observability.metrics.declaration import Topic

DELIVERY = Topic("Delivery")

MESSAGES_SENT = DELIVERY.counter("obscura_messages_sent", "Messages stored in an inbox.", watch="the load")
MESSAGES_DELIVERED = DELIVERY.counter(
    "obscura_messages_delivered",
    "Envelopes written to a socket.",
    detail="One for each socket, and one more each time a message is delivered again.",
    watch="far above the messages sent: clients that do not ack",
)
MESSAGES_ACKED = DELIVERY.counter(
    "obscura_messages_acked",
    "Messages removed because their recipient acked them.",
    watch="far below the messages sent: recipients are away, and Redis fills",
)
MESSAGES_REPEATED = DELIVERY.counter(
    "obscura_messages_repeated",
    "Sends that an earlier one with the same key had stored.",
    detail="The key is the `Idempotency-Key`. Nothing was stored twice.",
    watch="clients that did not hear the first answer: networks, or our own 503s",
)
MESSAGES_REJECTED = DELIVERY.counter(
    "obscura_messages_rejected",
    "Envelopes at which three connections of their recipient in a row ended, unacked.",
    detail="Each is logged with its size and the last close code, and counted by the process that saw it.",
    watch="clients that cannot take a message, and get nothing behind it: with 1009 their library takes no frame as "
    "large as `OBSCURA_MAX_MESSAGE_BYTES` makes them",
)
ACKS_WAITING = DELIVERY.gauge(
    "obscura_acks_waiting",
    "Acks that were taken and are not written yet.",
    watch="above what a second brings, for long: Redis is away or slow; the acks are kept",
)
ACK_WRITE_FAILURES = DELIVERY.counter(
    "obscura_acks_write_failures",
    "Writes of a user's acks that failed and are tried again.",
    watch="Redis was away. If the node is killed before a retry works, it delivers these messages again",
)
MESSAGES_DROPPED = DELIVERY.counter(
    "obscura_messages_dropped",
    "Messages removed for an inbox's limits by a send.",
    watch="recipients that never come, or one that somebody floods",
)
MESSAGES_EXPIRED = DELIVERY.counter(
    "obscura_messages_expired",
    "Messages removed because they expired.",
    watch="accounts that nobody uses any more",
)
