"""This checkout beside another one, in turns: whether a message costs the same as before.

Usage: python -m benchmarks.beside --other PATH_OR_COMMIT [--rounds 10] [--seconds 5] [send relay backlog]

Both nodes run all the while, each on a Redis of its own, and the generator of this checkout loads
one after the other: a round is one run of each, the next round begins with the other one, since the
machine's speed drifts. The ratios are of this checkout to the other, round by round; above 1 this one
is faster, or takes more processor time. Processor time of the node counts more than messages a second
on a machine that has other things to do. Each figure is the mean with its standard error, and the
range from the lowest to the highest round.
"""

import argparse
import math
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import geometric_mean, median, stdev

from benchmarks.generator import Found, bench, cpu_us_per_message
from benchmarks.relays import Relay, relay
from tests.support.node_process import ROOT

SCENARIOS = ("send", "relay", "backlog")
_FIGURES: dict[str, Callable[[Found], float]] = {
    "per second": lambda found: float(found["per_second"]),
    "node µs/message": lambda found: cpu_us_per_message(found, 0),
    "redis µs/message": lambda found: cpu_us_per_message(found, 1),
}


@contextmanager
def checkout_of(given: str) -> Iterator[Path]:
    """A folder that is a checkout, or one that is made of a commit for the length of the block."""
    if Path(given).is_dir():
        yield Path(given).resolve()
        return
    with tempfile.TemporaryDirectory(prefix="obscura-beside-") as folder:
        path = Path(folder) / "checkout"
        _git("worktree", "add", "--detach", str(path), given)
        try:
            yield path
        finally:
            _git("worktree", "remove", "--force", str(path))


def turns(scenarios: list[str], here: Relay, other: Relay, rounds: int, options: argparse.Namespace) -> None:
    """Run the rounds of each scenario and print what came of them."""
    print(f"{'scenario':10} {'figure':18} {'here':>10} {'other':>10} {'ratio':>18}   lowest to highest")
    for scenario in scenarios:
        found: dict[str, list[Found]] = {"here": [], "other": []}
        for number in range(rounds):
            order = [("here", here), ("other", other)]
            for name, one in order if number % 2 == 0 else reversed(order):
                found[name].append(bench(scenario, *one.urls, *one.pids, *load(scenario, options)))
        for name, figure in _FIGURES.items():
            show(scenario, name, [figure(one) for one in found["here"]], [figure(one) for one in found["other"]])


def load(scenario: str, options: argparse.Namespace) -> tuple[object, ...]:
    """The generator's options: a backlog has a size instead of a length."""
    size = ("--pending", options.pending) if scenario == "backlog" else ("--duration", options.seconds, "--warmup", 1)
    return (*size, "--processes", 1, "--concurrency", options.concurrency)


def show(scenario: str, name: str, here: list[float], other: list[float]) -> None:
    ratios = [one / before for one, before in zip(here, other, strict=True)]
    mean, error = mean_and_error(ratios)
    shown = f"{mean:.3f} ± {error:.3f}"
    spread = f"{min(ratios):.3f} to {max(ratios):.3f}"
    print(f"{scenario:10} {name:18} {median(here):10,.1f} {median(other):10,.1f} {shown:>18}   {spread}", flush=True)


def mean_and_error(ratios: list[float]) -> tuple[float, float]:
    """The geometric mean and its standard error; a single round has no error that is known."""
    mean = geometric_mean(ratios)
    if len(ratios) < 2:
        return mean, math.nan
    return mean, mean * stdev(map(math.log, ratios)) / math.sqrt(len(ratios))


def _git(*words: str) -> None:
    subprocess.run(["git", "-C", str(ROOT), *words], check=True, stdout=sys.stderr)  # noqa: S603, S607


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scenarios", nargs="*", choices=[*SCENARIOS, []], metavar="SCENARIO", help="(all three)")
    parser.add_argument("--other", required=True, metavar="PATH_OR_COMMIT", help="what this checkout is compared with")
    parser.add_argument("--rounds", type=int, default=10, help="of each scenario (10)")
    parser.add_argument("--seconds", type=float, default=5, help="of a run of send and relay (5)")
    parser.add_argument("--pending", type=int, default=1000, help="messages for each of 20 users in backlog (1000)")
    parser.add_argument("--concurrency", type=int, default=32, help="operations at a time (32)")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: what was started is ended first
    with checkout_of(options.other) as path, relay() as here, relay(checkout=path) as other:
        turns(options.scenarios or list(SCENARIOS), here, other, options.rounds, options)


if __name__ == "__main__":
    main()
