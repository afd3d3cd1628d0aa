"""Whether the time of a refused login tells if the username exists: two samples side by side, and a rank test.

Usage: python -m benchmarks.login_time [--samples 500]

One real node with its limits raised; one request at a time over one connection. Each
round asks once for a known and once for an unknown name, in random order, since the
machine's speed drifts. The AUC is the chance that a random login to a known name takes
longer than one to an unknown name: 0.5 is what somebody who guesses has.
"""

import argparse
import asyncio
import math
import random
import secrets
import time
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist, median, quantiles

import aiohttp

from benchmarks.processes import node
from tests.support.client import Api

_WARM_UP = 20
_KNOWN_NAMES = 20
_WRONG_PASSWORD = "wrong horse battery staple"  # noqa: S105
_SIGNIFICANT = 0.01
_NOTABLE = 0.03  # of the AUC, away from one half


@dataclass(frozen=True, slots=True)
class RankTest:
    """The Mann-Whitney test of two samples.

    Attributes:
        auc: The chance that one of the first is greater than one of the second; a tie counts half.
        p_value: Two-sided, by the normal approximation: how often chance alone does as much.
    """

    auc: float
    p_value: float


def rank_test(first: Sequence[float], second: Sequence[float]) -> RankTest:
    """Compare two samples of some dozens or more, with few ties."""
    ordered = sorted(second)
    wins = sum((bisect_left(ordered, value) + bisect_right(ordered, value)) / 2 for value in first)
    pairs = len(first) * len(second)
    spread = math.sqrt(pairs * (len(first) + len(second) + 1) / 12)
    z = (wins - pairs / 2) / spread
    return RankTest(wins / pairs, 2 * NormalDist().cdf(-abs(z)))


async def refused_ms(api: Api, name: str) -> float:
    started = time.perf_counter()
    answer = await api.login(name, _WRONG_PASSWORD)
    elapsed_ms = (time.perf_counter() - started) * 1000
    assert answer.status == 401, answer
    return elapsed_ms


async def measure(port: int, samples: int) -> dict[str, list[float]]:
    """Milliseconds of refused logins to known and to unknown names; no unknown name is asked for twice."""
    times: dict[str, list[float]] = {"known": [], "unknown": []}
    async with aiohttp.ClientSession() as session:
        api = Api(session, port)
        known = [(await api.register()).name for _ in range(_KNOWN_NAMES)]
        for number in range(-_WARM_UP, samples):
            names = {"known": random.choice(known), "unknown": f"user-{secrets.token_hex(8)}"}  # noqa: S311
            for kind in random.sample(list(names), 2):
                elapsed_ms = await refused_ms(api, names[kind])
                if number >= 0:
                    times[kind].append(elapsed_ms)
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=500)
    options = parser.parse_args()
    with node() as relay:
        times = asyncio.run(measure(relay.port, options.samples))
    for name, values in times.items():
        print(f"{name:8} median {median(values):7.2f} ms   p95 {quantiles(values, n=20)[-1]:7.2f} ms")
    found = rank_test(times["known"], times["unknown"])
    apart = found.p_value < _SIGNIFICANT and abs(found.auc - 0.5) > _NOTABLE
    print(f"AUC {found.auc:.3f}   p {found.p_value:.3f}   {'they can' if apart else 'they cannot'} be told apart")


if __name__ == "__main__":
    main()
