"""Every scenario by its name."""

from obscura.bench.scenario_context import Scenario
from obscura.bench.scenarios.attachments import Attachments
from obscura.bench.scenarios.backlog import Backlog
from obscura.bench.scenarios.bundles import Bundles
from obscura.bench.scenarios.echo import Echo
from obscura.bench.scenarios.idle import Idle
from obscura.bench.scenarios.login import Login
from obscura.bench.scenarios.mixed import Mixed
from obscura.bench.scenarios.relay import Relay
from obscura.bench.scenarios.send import Send

MAKERS: dict[str, type[Scenario]] = {
    "send": Send,
    "relay": Relay,
    "backlog": Backlog,
    "bundles": Bundles,
    "idle": Idle,
    "login": Login,
    "attachments": Attachments,
    "mixed": Mixed,
    "echo": Echo,
}

UNTIMED = {"backlog", "idle"}  # they end when all is done, not when time is up
