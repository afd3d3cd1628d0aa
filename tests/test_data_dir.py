"""The data directory: one process at a time, and a secret that is made once."""

import os
import stat
from pathlib import Path

import pytest

from obscura.data_dir import load_or_create_jwt_secret, lock_file
from obscura.errors import StartupError


def test_a_lock_has_one_holder_until_it_is_closed(tmp_path: Path) -> None:
    """Its file stays, and is for nobody else to read."""
    lock = lock_file(tmp_path / "lock")
    assert lock is not None
    assert lock_file(tmp_path / "lock") is None
    copy = os.dup(lock)
    os.close(lock)
    assert lock_file(tmp_path / "lock") is None
    os.close(copy)
    again = lock_file(tmp_path / "lock")
    assert again is not None
    os.close(again)
    assert mode(tmp_path / "lock") == 0o600


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_the_secret_is_made_once(tmp_path: Path) -> None:
    """Every later start signs with the same random secret, which only its owner can read."""
    secret = load_or_create_jwt_secret(tmp_path)
    assert load_or_create_jwt_secret(tmp_path) == secret
    assert len(secret.encode()) >= 32
    assert mode(tmp_path / "jwt_secret") == 0o600


def test_two_directories_have_different_secrets(tmp_path: Path) -> None:
    """It is random."""
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
    assert load_or_create_jwt_secret(tmp_path / "first") != load_or_create_jwt_secret(tmp_path / "second")


def test_a_crash_while_the_secret_is_written_does_no_harm(tmp_path: Path) -> None:
    """A half-written draft is not taken for the secret."""
    (tmp_path / "jwt_secret.draft").write_text("half")
    assert len(load_or_create_jwt_secret(tmp_path)) == 43


@pytest.mark.parametrize("content", [b"", b"short\n", b"\xff" * 44, b"x" * 44 + b"\n"])
def test_a_damaged_secret_stops_the_start(tmp_path: Path, content: bytes) -> None:
    """A new one is not made up silently, since it would end every access token; nor is the old one shown."""
    (tmp_path / "jwt_secret").write_bytes(content)
    with pytest.raises(StartupError, match="jwt_secret is damaged: put it back, or remove it") as caught:
        load_or_create_jwt_secret(tmp_path)
    assert "short" not in str(caught.value)
    assert (tmp_path / "jwt_secret").read_bytes() == content
