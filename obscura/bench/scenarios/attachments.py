"""`attachments`: each is uploaded, downloaded again, and compared."""

import os

from obscura.bench.failure import ExchangeError
from obscura.bench.recorder import now
from obscura.bench.scenario_context import Stage
from obscura.client.http import HttpConnection, head


class Attachments:
    operations: tuple[str, ...] = ("upload", "download")

    def __init__(self, stage: Stage, size_bytes: int | None = None) -> None:
        self._stage = stage
        self._content = os.urandom(size_bytes or stage.options.size_bytes_for("attachments"))

    async def prepare(self) -> None:
        pass

    async def run(self) -> None:
        await self._stage.run_lanes(self.operate)

    async def finish(self) -> None:
        pass

    def account(self) -> None:
        return None

    async def operate(self, http: HttpConnection, turn: int, started: float) -> None:
        token = self._stage.users[turn % len(self._stage.users)].token
        content = turn.to_bytes(8, "big") + self._content[8:]  # no two are the same
        kind = "application/octet-stream"
        upload = head("POST", "/v1/attachments", http.target, len(content), token, kind) + content
        answer = (await http.exchange(upload)).expect(201).json()
        self._stage.recorder.completed("upload", started)
        started = now()
        download = head("GET", f"/v1/attachments/{answer.get('id')}", http.target, 0, token)
        if (await http.exchange(download)).expect(200).body != content:
            raise ExchangeError("attachment was changed")
        self._stage.recorder.completed("download", started)
