"""`python -m tests.support.wrong_clock SECS serve`: the command `obscura` on a machine whose clock is ahead by so much.

The clock that is never set, which ages go by, is right there, too.
"""

import sys
import time

_true_time = time.time


def main() -> int:
    """Set the clock before anything is imported that may look at it."""
    ahead_secs = float(sys.argv.pop(1))
    time.time = lambda: _true_time() + ahead_secs
    from obscura.cli import main as run

    return run()


if __name__ == "__main__":
    sys.exit(main())
