"""Metrics of the clean-up that removes what has expired."""

from obscura.observability.metrics.declaration import Topic

CLEANUP = Topic(
    "Clean-up",
    """\
Each node tries to clean up once per interval, unless another one is at it. The time of the last complete clean-up is
kept in Redis and measured by its clock alone. So all nodes show the same age, also a node that never gets its turn and
one that has just started.
""",
)

JANITOR_SWEEPS = CLEANUP.counter(
    "obscura_janitor_sweeps",
    "Clean-ups that were begun, and how they ended.",
    {
        "kind": ("messages", "attachments"),
        "outcome": ("done", "elsewhere", "failed", "lease lost"),
    },
    detail="`elsewhere`: another node had done it. `lease lost`: it lost its turn in the middle.",
    watch="`failed`: see the log, Redis and the storage. `lease lost`: Redis was away or slow",
)
JANITOR_AGE = CLEANUP.gauge(
    "obscura_janitor_sweep_age_seconds",
    "Since a node, whichever, had swept to the end; as far as known.",
    {"kind": ()},
    detail="If there never was one it is since the start of this node.",
    watch="up to two intervals are normal; more: nothing that expires is removed",
)
JANITOR_INTERVAL = CLEANUP.gauge(
    "obscura_janitor_interval_seconds",
    "The pause between two clean-ups.",
    {"kind": ()},
    detail="It is the setting, to compare the age with.",
)
