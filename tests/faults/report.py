"""What a scenario did and found, and the table of all of them."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from tests.faults import checker
from tests.faults.history import History, Outcome

SESSION_CLOSED = "a socket was closed with 4003"


@dataclass
class Findings:
    """The outcome of one scenario, over all its rounds.

    Attributes:
        repetitions: How often the fault was injected.
        stored: Messages that got a 201.
        faults: Promises broken, in words.
        figures: The worst value measured of each kind, by its name.
        counts: What happened, of each kind how often, by its name.
    """

    scenario: str
    repetitions: int = 0
    stored: int = 0
    faults: list[str] = field(default_factory=list)
    figures: dict[str, float] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)

    def read(self, history: History) -> None:
        """Check a drained history."""
        self.count(history)
        self.faults += checker.faults(history)

    def count(self, history: History) -> None:
        self.stored += history.outcomes()[Outcome.STORED]

    def count_losses(self, history: History) -> None:
        """Check a drained history of a Redis that may have forgotten its last moments: what it lost is counted."""
        self.count(history)
        losses = checker.losses(history)
        self.counts.update(losses)
        forgotten = checker.forgotten(history)
        if losses["sessions lost"]:
            forgotten.append(SESSION_CLOSED)
        self.faults += [fault for fault in checker.faults(history) if fault not in forgotten]

    def worst(self, name: str, value: float) -> None:
        """Note a figure; of several the greatest is kept."""
        self.figures[name] = max(value, self.figures.get(name, value))

    def at_most(self, name: str, value: float, limit: float) -> None:
        """Note a figure that is to stay within a limit."""
        self.worst(name, value)
        if value > limit:
            self.faults.append(f"{name}: {value:.2f}, more than {limit:g}")

    def expect(self, holds: bool, fault: str) -> None:
        if not holds:
            self.faults.append(fault)


def table(findings: Iterable[Findings]) -> str:
    """One line for each scenario, and one for each fault found."""
    lines = [f"{'scenario':<28} {'times':>6} {'stored':>8}  result"]
    for found in findings:
        figures = ", ".join(f"{name} {value:.4g}" for name, value in [*found.counts.items(), *found.figures.items()])
        result = "ok" if not found.faults else f"{len(found.faults)} FAULTS"
        lines.append(f"{found.scenario:<28} {found.repetitions:>6} {found.stored:>8}  {result}; {figures}")
        lines += [f"    {fault}" for fault in found.faults]
    return "\n".join(lines)


def merge(before: Findings | None, found: Findings) -> Findings:
    """Two turns of a scenario as one."""
    if before is None:
        return found
    both = Findings(found.scenario, before.repetitions + found.repetitions, before.stored + found.stored)
    both.faults = before.faults + found.faults
    both.counts = Counter({name: before.counts[name] + found.counts[name] for name in before.counts | found.counts})
    for figures in (before.figures, found.figures):
        for name, value in figures.items():
            both.worst(name, value)
    return both
