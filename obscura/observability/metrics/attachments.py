"""Metrics of attachments and of the storage that keeps them."""

from obscura.observability.metrics.declaration import Topic

ATTACHMENTS = Topic("Attachments")

_STORAGE_BOUNDS = (0.005, 0.025, 0.1, 0.5, 2, 10, 60)

ATTACHMENT_BYTES_IN = ATTACHMENTS.counter(
    "obscura_attachment_bytes_in", "Bytes of attachments stored.", watch="the load"
)
ATTACHMENT_BYTES_OUT = ATTACHMENTS.counter(
    "obscura_attachment_bytes_out", "Bytes of attachments read for downloads.", watch="the load"
)
ATTACHMENTS_EXPIRED = ATTACHMENTS.counter(
    "obscura_attachments_expired",
    "Attachments and broken uploads cleaned up.",
    watch="none for days although old ones are stored: the clean-up fails, see the log",
)
STORAGE_SECONDS = ATTACHMENTS.histogram(
    "obscura_storage_operation_duration_seconds",
    "Of the attachments' store; a put lasts as long as the upload, a get until its first byte can be read.",
    _STORAGE_BOUNDS,
    {"operation": ()},
    watch="`get` and `delete` tell about the storage, `put` about the clients' networks too",
)
STORAGE_ERRORS = ATTACHMENTS.counter(
    "obscura_storage_errors",
    "Operations of the attachments' store that failed.",
    {"operation": ("put", "get", "delete")},
    watch="the bucket or the disk; messages go on",
)
