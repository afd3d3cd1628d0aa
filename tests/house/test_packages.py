"""What is installed is what is there: setup.cfg lists every package."""

import configparser
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_every_package_is_installed() -> None:
    """A folder that is not listed works in a checkout and is missing from the wheel."""
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    folders = [file.parent.relative_to(ROOT) for file in (ROOT / "obscura").rglob("__init__.py")]
    packages = {".".join(folder.parts) for folder in folders} | {"obscura.lua"}
    assert set(setup["options"]["packages"].split()) == packages
