"""The data directory of a node that runs its own Redis: who may use it, and the secret kept in it."""

import fcntl
import os
import re
import secrets
from pathlib import Path

from obscura.errors import StartupError
from obscura.files import sync_directory

_JWT_SECRET_BYTES = 32


def lock_file(path: Path) -> int | None:
    """Lock a file, made if need be, until the returned descriptor and all its copies are closed.

    A process that ends, however it ends, closes its descriptors. None: another holds
    the lock.
    """
    file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(file)
        return None
    return file


def load_or_create_jwt_secret(data_dir: Path) -> str:
    """Return the random secret that signs access tokens; the first call makes it, for good.

    A crash leaves either no secret or a whole one. Call it with the directory locked, that
    is after `EmbeddedRedis.start`.

    Raises:
        StartupError: The file cannot be used, or does not hold what was written to it.
    """
    path = data_dir / "jwt_secret"
    try:
        if not path.exists():
            write_durably(path, secrets.token_urlsafe(_JWT_SECRET_BYTES) + "\n")
        secret = path.read_text("ascii", errors="replace")
    except OSError as error:
        raise StartupError(f"{path} cannot be used: {error.strerror}") from error
    if not re.fullmatch(r"[\w-]{43}\n", secret, re.ASCII):
        raise StartupError(f"{path} is damaged: put it back, or remove it, which ends every access token given out")
    return secret.strip()


def write_durably(path: Path, text: str) -> None:
    """Write a private file so that even a power cut leaves all of it or nothing."""
    draft = path.with_name(f"{path.name}.draft")
    with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="ascii") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
    sync_directory(path.parent)
