"""``python -m obscura`` is the ``obscura`` command."""

import gc
import sys

gc.disable()  # a tenth of a start: of what is imported nothing is garbage
from obscura.cli import main  # noqa: E402

gc.enable()

if __name__ == "__main__":
    sys.exit(main())
