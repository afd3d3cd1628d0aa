"""Nodes tell each other what they go by, so that settings which differ are noticed.

A node with a shorter TTL or a smaller inbox removes messages that others still keep.
"""

import asyncio
import logging
from collections.abc import Collection
from contextlib import suppress
from dataclasses import fields

from obscura.errors import StoreUnavailable
from obscura.observability.metrics.process import SETTINGS_DIFFER
from obscura.store.node_settings import NodeReports, NodeSettings
from obscura.tasks import end_tasks

log = logging.getLogger(__name__)

_PERIOD_SECS = 15.0
_FAREWELL_SECS = 0.2  # a stop does not wait for a Redis that hangs


class SettingsReport:
    """Reports the settings of this node once in a period, and compares those of all."""

    def __init__(
        self, reports: NodeReports, node_id: str, settings: NodeSettings, period_secs: float = _PERIOD_SECS
    ) -> None:
        self._reports = reports
        self._node_id = node_id
        self._settings = settings
        self._period_secs = period_secs
        self._told: frozenset[str] = frozenset()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Stop, and take the report back if Redis is there. May be repeated."""
        if self._task is None:
            return
        await end_tasks(self._task)
        self._task = None
        with suppress(StoreUnavailable, TimeoutError):
            async with asyncio.timeout(_FAREWELL_SECS):
                await self._reports.withdraw(self._node_id)

    async def _run(self) -> None:
        while True:
            try:
                self._compare((await self._reports.report(self._node_id, self._settings)).values())
            except StoreUnavailable:
                log.debug("the settings of this node could not be reported")
            except Exception:
                # One odd report is not to end the reports.
                log.exception("the settings of the nodes could not be compared")
            await asyncio.sleep(self._period_secs)

    def _compare(self, of_all: Collection[NodeSettings]) -> None:
        differing = set()
        for field in fields(NodeSettings):
            values = {getattr(settings, field.name) for settings in of_all} - {None}
            SETTINGS_DIFFER.labels(field.name).set(len(values) > 1)
            if len(values) > 1:
                differing.add(field.name)
                if field.name not in self._told:
                    about = {"setting": f"OBSCURA_{field.name.upper()}", "values": ", ".join(map(str, sorted(values)))}
                    log.warning("nodes of this relay have different settings", extra=about)
        self._told = frozenset(differing)
