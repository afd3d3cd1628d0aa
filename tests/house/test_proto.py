"""The protobuf module that is checked in is the one that proto/ describes."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
GENERATED = ("obscura/v1/obscura_pb2.py", "obscura/v1/obscura_pb2.pyi")


def test_generating_the_module_anew_changes_nothing(tmp_path: Path) -> None:
    """Neither proto/ nor the generated code was changed without the other."""
    environ = os.environ | {"PYTHON": sys.executable}
    subprocess.run([ROOT / "script/generate-proto", tmp_path], check=True, env=environ)
    assert {str(file.relative_to(tmp_path)) for file in tmp_path.rglob("*.py*")} == set(GENERATED)
    for name in GENERATED:
        assert (tmp_path / name).read_text() == (ROOT / name).read_text(), name
