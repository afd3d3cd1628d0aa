"""Every metric of a node, in Prometheus's sense: one module a topic, bounded labels, and none that names a user.

Imports `settings`, for the names of the limits, and no other room.

Importing any topic makes the metrics of all, so that every metric is there from the start of a process.
"""

from obscura.observability.metrics.accounts import ACCOUNTS
from obscura.observability.metrics.attachments import ATTACHMENTS
from obscura.observability.metrics.cleanup import CLEANUP
from obscura.observability.metrics.delivery import DELIVERY
from obscura.observability.metrics.gateway import GATEWAY
from obscura.observability.metrics.http import TRAFFIC
from obscura.observability.metrics.process import PROCESS
from obscura.observability.metrics.redis import REDIS

TOPICS = (TRAFFIC, DELIVERY, GATEWAY, REDIS, ACCOUNTS, ATTACHMENTS, CLEANUP, PROCESS)
"""All that is declared, in the order of docs/metrics.md."""
