"""script/faults: run the fault suite, briefly or for as long as told, and print what it found.

Exit code 0: every promise was kept; 1: the table says which was not; 130: it was stopped.
"""

import argparse
import asyncio
import logging
import secrets
import signal
import sys
import time
from collections.abc import Sequence

import pytest

from tests.faults.report import Findings, merge, table
from tests.faults.scenarios import RELAYS, Relay, Scenario
from tests.faults.testbed import Testbed

_MINUTES = 60.0
_STOPPED = 130


def main(argv: Sequence[str] | None = None) -> int:
    options = _parse(argv)
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)  # connections break here, and are meant to
    seed = secrets.randbits(32) if options.seed is None else options.seed
    print(f"seed {seed}", flush=True)
    try:
        findings = asyncio.run(_run(options.scenarios, seed, options.long))
    except asyncio.CancelledError:
        return _STOPPED
    print(f"\nseed {seed}\n{table(findings)}")
    return int(any(found.faults for found in findings))


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    names = [scenario.name for relay in RELAYS for scenario in relay.scenarios]
    parser = argparse.ArgumentParser(prog="script/faults", description=__doc__)
    parser.add_argument(
        "--long",
        nargs="?",
        type=float,
        const=_MINUTES,
        metavar="MINUTES",
        help=f"full lengths, turn after turn until the time is over, {_MINUTES:g} by default",
    )
    parser.add_argument("--seed", type=int, help="repeat the faults of a run that printed this")
    parser.add_argument("scenarios", nargs="*", metavar="scenario", help=f"some of: {', '.join(names)}")
    options = parser.parse_args(argv)
    if unknown := set(options.scenarios) - set(names):
        parser.error(f"no such scenario: {', '.join(sorted(unknown))}")
    return options


async def _run(names: Sequence[str], seed: int, minutes: float | None) -> list[Findings]:
    """Turns of all scenarios, each on a relay that the ones before have hurt."""
    task = asyncio.current_task()
    assert task is not None
    for number in (signal.SIGINT, signal.SIGTERM):  # either way all processes are stopped
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    end = time.monotonic() + 60 * (minutes or 0)
    total: dict[str, Findings] = {}
    while True:
        for relay in RELAYS:
            is_over = await _take_turn(relay, names, seed, total, None if minutes is None else end)
            if is_over:
                return list(total.values())
        if minutes is None:
            return list(total.values())
        seed += 1
        print(f"seed {seed}", flush=True)


async def _take_turn(
    relay: Relay, names: Sequence[str], seed: int, total: dict[str, Findings], end: float | None
) -> bool:
    """One turn on one relay; returns whether the time of a long run is over.

    Args:
        total: Where the findings go.
        end: Of a long run; None for a short one.
    """
    is_long = end is not None
    chosen = [one for one in relay.scenarios if one.name in names or (not names and one.times[is_long])]
    if not chosen:
        return False
    try:
        async with relay.open(seed) as testbed:
            for scenario in chosen:
                await _play(scenario, testbed, is_long, total)
                if end is not None and time.monotonic() >= end:
                    return True
    except pytest.skip.Exception as reason:
        print(f"  skipped  {', '.join(one.name for one in chosen)}: {reason}", flush=True)
    return False


async def _play(scenario: Scenario, testbed: Testbed, is_long: bool, total: dict[str, Findings]) -> None:
    began = time.monotonic()
    try:
        found = await scenario.run(testbed, is_long=is_long)
    except pytest.skip.Exception as reason:
        print(f"  skipped  {scenario.name}: {reason}", flush=True)
        return
    print(f"{time.monotonic() - began:7.1f} s  {scenario.name}: {', '.join(found.faults) or 'ok'}", flush=True)
    total[scenario.name] = merge(total.get(scenario.name), found)


if __name__ == "__main__":
    sys.exit(main())
