"""``obscura backup`` and ``obscura restore``.

Exit codes: 0, 1 when it was not done or something is missing, 2 when the command itself is not
understood.
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from obscura.backup.restoring import restore_backup
from obscura.backup.taking import take_backup
from obscura.errors import ObscuraError
from obscura.observability.terminal import escape, print_error
from obscura.settings.loading import load
from obscura.settings.model import Settings

USAGE = """\
usage: obscura backup DIR [--config FILE] [--SETTING VALUE ...]
       obscura restore DIR [--config FILE] [--SETTING VALUE ...]

Back up a relay that runs with its own Redis, while it serves, into the new directory DIR; and
restore such a backup into an empty data directory, in which no relay runs. The settings are
those of `obscura serve`. For a Redis of your own docs/backup.md has the steps.
"""


def backup_or_restore(action: str, argv: Sequence[str], environ: Mapping[str, str]) -> int:
    """Run the command of this name with the arguments behind it, and return the exit code."""
    if {"-h", "--help"} & set(argv):
        print(USAGE, end="")
        return 0
    if not argv or argv[0].startswith("-") or not argv[0]:
        print(USAGE, end="", file=sys.stderr)
        return 2
    try:
        settings = load(argv[1:], environ)
        if settings.redis_url is not None:
            raise ObscuraError("OBSCURA_REDIS_URL names a Redis of your own: docs/backup.md has the steps for it")
        return _ACTIONS[action](settings, Path(argv[0]))
    except OSError as error:
        print_error(f"{error.filename or argv[0]}: {error.strerror or error}")
    except (ObscuraError, KeyboardInterrupt) as error:
        print_error(str(error) or "stopped")
    return 1


def _backup(settings: Settings, folder: Path) -> int:
    done = take_backup(settings, folder)
    print(f"backed up into {escape(str(folder))}: {done.redis_bytes} bytes of Redis, {done.attachments} attachments")
    if settings.storage_bucket is not None:
        print("attachments lie in the bucket and are not part of it")
    return 0


def _restore(settings: Settings, folder: Path) -> int:
    done = restore_backup(settings, folder)
    print(f"restored into {escape(str(settings.data_dir))}: {done.keys} keys of Redis, {done.attachments} attachments")
    if done.missing:
        print_error(f"{done.missing} attachments are missing in the backup")
    return 1 if done.missing else 0


_ACTIONS: Mapping[str, Callable[[Settings, Path], int]] = {"backup": _backup, "restore": _restore}
