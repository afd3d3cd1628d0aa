"""Every scenario of the bench by its name, with what the command line and the docs say of it.

A new scenario is a row here and a module of that name in `scenarios/`, whose class has the same name: ``idle`` is
`Idle` in `idle.py`. The rows can be read without the packages of the extra, which only `load` needs.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from obscura.bench.scenario_context import Scenario

MESSAGE_BYTES = 512


@dataclass(frozen=True, slots=True)
class Entry:
    """What is known of a scenario before it runs.

    Attributes:
        meaning: For the help.
        is_timed: Whether it ends when time is up; else when all is done.
        opens_sockets: Whether it opens as many sockets as ``--sockets`` says.
        size_bytes: Of what it sends, without ``--size``.
    """

    meaning: str
    is_timed: bool = True
    opens_sockets: bool = False
    size_bytes: int = MESSAGE_BYTES


SCENARIOS = {
    "send": Entry("POST messages; nobody receives them"),
    "relay": Entry("send, deliver and ack messages; latency from end to end"),
    "backlog": Entry("fill the inboxes of N users, connect them all, drain, ack", is_timed=False),
    "bundles": Entry("register users and fetch their pre-key bundles"),
    "idle": Entry(
        "open N sockets and leave them alone; with --pid, what each costs the server",
        is_timed=False,
        opens_sockets=True,
    ),
    "login": Entry("log in with a password"),
    "attachments": Entry("upload attachments and download them again", size_bytes=2**20),
    "mixed": Entry("all of the above at once, mostly relayed messages"),
    "echo": Entry("frames to a socket that sends them back (a reference, only with --reference)"),
}


def load(name: str) -> type[Scenario]:
    """Import a scenario's class."""
    module = import_module(f"obscura.bench.scenarios.{name}")
    return cast("type[Scenario]", getattr(module, name.capitalize()))
