"""``obscura bench``: the load generator's command, and its exit codes.

0: everything is accounted for. 1: something was lost, doubled, wrong or missing, or the
bench could not be run to its end. 2: the command itself is not understood.
"""

import signal
import sys
from collections.abc import Sequence
from importlib.util import find_spec

from obscura.bench.errors import BenchError
from obscura.bench.options import UsageError, parse

_NEEDED = ("hdrh", "httptools", "pygal")  # packages of the extra


def bench(argv: Sequence[str]) -> int:
    """Run ``obscura bench`` with the arguments behind it, and return the exit code."""
    try:
        options = parse(argv)
    except UsageError as error:
        print(f"obscura bench: {error} (obscura bench --help says what there is)", file=sys.stderr)
        return 2
    except SystemExit:
        return 0  # of --help
    if not all(map(find_spec, _NEEDED)):
        print("obscura bench: not installed with it: pip install 'obscura[bench]'", file=sys.stderr)
        return 1
    from obscura.bench.run import run_all  # noqa: PLC0415  needs the packages of the extra

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: the other processes are ended first
    try:
        return 0 if run_all(options) else 1
    except (BenchError, KeyboardInterrupt) as error:
        print(f"obscura bench: {str(error) or 'stopped'}", file=sys.stderr)
        return 1
