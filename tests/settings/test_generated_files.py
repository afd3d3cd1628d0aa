"""The documents that are made from the settings are the ones that lie in the repository."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", ["docs/settings.md", "config/example.env"])
def test_generating_them_anew_changes_nothing(tmp_path: Path, name: str) -> None:
    """Neither a name nor a default nor a meaning differs from obscura/settings/model.py."""
    for folder in ("docs", "config"):
        (tmp_path / folder).mkdir()
    subprocess.run([sys.executable, ROOT / "script/generate-settings", tmp_path], check=True)
    assert (tmp_path / name).read_text() == (ROOT / name).read_text()
