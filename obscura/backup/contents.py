"""What is in a backup, and whether it is what was written.

redis.rdb             all that Redis had at one moment
jwt_secret            the secret that the node made, if it made one
attachments/ab/<id>   those that Redis knew of at that moment, and maybe some of later
SHA256SUMS            written last, so that there is none of a backup that was not finished
"""

import hashlib
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from obscura.data_dir import write_durably
from obscura.errors import ObscuraError
from obscura.files import sync_directory

REDIS, JWT_SECRET, ATTACHMENTS, SUMS = "redis.rdb", "jwt_secret", "attachments", "SHA256SUMS"

_BLOCK_BYTES = 2**20
_ATTACHMENT_NAME = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_SUM_LINE = re.compile(r"([0-9a-f]{64})  ([\w./-]+)")


def refuse_used(folder: Path) -> None:
    """Raise ObscuraError if there is something in a directory."""
    with suppress(FileNotFoundError):
        if [entry for entry in os.listdir(folder) if entry != "lost+found"]:
            raise ObscuraError(f"{folder} is not empty: name a new directory, or move away what is in it")


def attachments_in(folder: Path) -> Iterator[tuple[str, Path]]:
    """Each whole attachment of a directory, as its id and its file."""
    for file in folder.glob("??/*"):
        if _ATTACHMENT_NAME.fullmatch(file.name):
            yield file.name, file


def copy_file(source: Path, target: Path | None = None) -> str:
    """Copy a file, for its owner alone and onto the disk, or only read it, and return its SHA-256 in hex.

    Raises:
        OSError: It cannot be read or written.
    """
    digest = hashlib.sha256()
    with open(source, "rb") as reading, open(_private(target or Path(os.devnull)), "wb") as writing:
        while block := reading.read(_BLOCK_BYTES):
            digest.update(block)
            writing.write(block)
        if target is not None:
            writing.flush()
            os.fsync(writing.fileno())
    return digest.hexdigest()


def write_sums(folder: Path, sums: Mapping[str, str]) -> None:
    """Finish a backup: say what is in it, once all of it is on disk."""
    sync_tree(folder)
    write_durably(folder / SUMS, "".join(f"{digest}  {name}\n" for name, digest in sorted(sums.items())))


def sync_tree(folder: Path) -> None:
    """Have the entries of a directory and of all below it on disk."""
    for path, _, _ in os.walk(folder):
        sync_directory(Path(path))


def checked_sums(folder: Path) -> dict[str, str]:
    """The digest of each file of a backup, all of which are as they were written.

    Raises:
        ObscuraError: It was not finished, is damaged, or is no backup.
        OSError: It cannot be read.
    """
    try:
        lines = (folder / SUMS).read_text("ascii", errors="replace").splitlines()
    except FileNotFoundError:
        raise ObscuraError(f"{folder} is no finished backup: there is no {SUMS} in it") from None
    found = [_SUM_LINE.fullmatch(line) for line in lines]
    sums = {match[2]: match[1] for match in found if match and ".." not in match[2] and match[2][0] != "/"}
    if len(sums) != len(lines) or REDIS not in sums:
        raise ObscuraError(f"the backup is damaged: {folder / SUMS} is not as it was written")
    for name, digest in sums.items():
        if not (folder / name).is_file() or copy_file(folder / name) != digest:
            raise ObscuraError(f"the backup is damaged: {folder / name} is not as it was written")
    return sums


def _private(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
