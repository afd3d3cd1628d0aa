"""The README is one page, names what there is, and gives each dependency its reason."""

import configparser
import re

from obscura.settings.model import SETTINGS
from tests.support.pages import ROOT, code_spans, links, read, rows

README = read("README.md")
SETUP = configparser.ConfigParser()
SETUP.read(ROOT / "setup.cfg")


def packages(text: str) -> set[str]:
    return set(re.findall(r"^([\w-]+)", text, re.MULTILINE))


def test_it_is_one_page() -> None:
    """At most 200 lines."""
    assert len(README.splitlines()) <= 200


def test_it_has_what_a_newcomer_needs() -> None:
    """The two commands, the tour, the data directory, and the routes that everybody asks for."""
    assert {"script/server", "script/test", "examples/tour.py"} <= set(re.findall(r"\b[a-z]+/[\w.]+", README))
    assert SETTINGS["data_dir"].default.removeprefix("./") + "/" in code_spans(README)
    assert re.findall(r"OBSCURA_[A-Z_]+", README)
    assert "GET /openapi.yaml" in code_spans(README)


def test_it_leads_to_each_kind_of_reader() -> None:
    """Client developers, operators, those who change the code; and to the index for all else."""
    linked = {name for name, _ in links(ROOT / "README.md")}
    assert {"docs/README.md", "docs/clients/gateway.md", "docs/deploy.md", "CONTRIBUTING.md"} <= linked
    assert {"LICENSE", "CHANGELOG.md", "SECURITY.md", "docs/guarantees.md"} <= linked


def test_the_table_of_dependencies_is_that_of_the_package() -> None:
    """Each dependency has its reason; no row is left of one that went."""
    listed = {cells[0].strip("`") for cells in rows("README.md", "Dependencies")}
    assert listed == packages(SETUP["options"]["install_requires"])


def test_every_extra_is_mentioned() -> None:
    """What can be installed besides is said below the table."""
    section = README[README.index("# Dependencies\n") :]
    named = set(re.findall(r"`(\w+)`", section))
    assert named >= SETUP["options.extras_require"].keys()
    assert named >= packages(SETUP["options.extras_require"]["bench"])


def test_the_changelog_has_the_version() -> None:
    """The one of setup.cfg is the first release that it lists."""
    released = re.findall(r"^## \[(\d+\.\d+\.\d+)\] - \d{4}-\d{2}-\d{2}$", read("CHANGELOG.md"), re.MULTILINE)
    assert released[0] == SETUP["metadata"]["version"]
    assert f"| {released[0].rpartition('.')[0]} | yes |" in read("SECURITY.md")
