"""What each worker of a node gets: the settings, and its part of what the node may admit.

The kernel hands a new connection to any of the processes, so one may be full while another
has room: a client can be refused a little before the node's limit, and never comes in
beyond it. Exact counts would cost each request a word with another process.
"""

import json  # unlike orjson it takes names of files that are not UTF-8
from dataclasses import dataclass
from typing import Self

from obscura.settings.division import part_of
from obscura.settings.model import SETTINGS, Settings


@dataclass(frozen=True, slots=True)
class WorkerConfig:
    """The first thing a worker is told.

    Attributes:
        number: Which worker it is, from 1.
        node_settings: Those of the whole node, with the port, the Redis and the secret that it has.
    """

    number: int
    node_settings: Settings

    def to_json(self) -> bytes:
        """One line, secrets included. What has its default is left out, so that the worker knows it as that."""
        given = self.node_settings.model_dump(mode="json", exclude_unset=True)
        return json.dumps({"number": self.number, "settings": given}).encode()

    @classmethod
    def from_json(cls, line: bytes) -> Self:
        values = json.loads(line)
        return cls(values["number"], Settings.model_validate(values["settings"]))

    @property
    def worker_settings(self) -> Settings:
        """The settings this worker runs with. Those of all workers together admit what the node may."""
        node = self.node_settings
        return node.model_copy(
            update={
                name: part_of(getattr(node, name), setting.divided, self.number, node.workers)
                for name, setting in SETTINGS.items()
                if setting.divided
            }
        )
