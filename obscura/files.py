"""Directories whose entries are on disk, as far as their file system can promise that."""

import errno
import os
from pathlib import Path

# What file systems say that have no sync of a directory: network shares, some of FUSE and of virtual machines.
_NOT_SYNCABLE = frozenset({errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP})


def sync_directory(folder: Path) -> None:
    """Have the entries of a directory on disk, so that a power cut takes none away.

    A file system that cannot do that is taken as it is: nothing better can be had there.

    Raises:
        OSError: It could and did not, or there is no such directory.
    """
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _NOT_SYNCABLE:
            raise
    finally:
        os.close(descriptor)


def make_directory(folder: Path) -> None:
    """Make a directory for its owner alone, and its parents if need be, so that a power cut takes none away.

    Raises:
        OSError: It cannot be made.
    """
    made = [one for one in (folder, *folder.parents) if not one.exists()]
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for one in made:
        sync_directory(one.parent)
