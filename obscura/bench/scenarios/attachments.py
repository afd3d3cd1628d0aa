"""`attachments`: each is uploaded, downloaded again, and compared."""

import os

from obscura.bench.recorder import now
from obscura.bench.scenario_context import ScenarioContext
from obscura.client.errors import ExchangeError
from obscura.client.http import HttpConnection, bearer, request_head


class Attachments:
    operations: tuple[str, ...] = ("upload", "download")

    def __init__(self, context: ScenarioContext, size_bytes: int | None = None) -> None:
        self._context = context
        self._content = os.urandom(size_bytes or context.options.size_bytes_for("attachments"))

    async def prepare(self) -> None:
        pass

    async def run(self) -> None:
        await self._context.run_concurrently(self.operate)

    async def finish(self) -> None:
        pass

    def counts(self) -> None:
        return None

    async def operate(self, http: HttpConnection, turn: int, started: float) -> None:
        headers = bearer(self._context.users[turn % len(self._context.users)].token)
        content = turn.to_bytes(8, "big") + self._content[8:]  # no two are the same
        kind = {"Content-Type": "application/octet-stream"}
        upload = request_head(http.target, "POST", "/v1/attachments", len(content), headers | kind) + content
        answer = (await http.exchange(upload)).expect(201).json()
        self._context.recorder.completed("upload", started)
        started = now()
        download = request_head(http.target, "GET", f"/v1/attachments/{answer.get('id')}", headers=headers)
        if (await http.exchange(download)).expect(200).body != content:
            raise ExchangeError("attachment was changed")
        self._context.recorder.completed("download", started)
