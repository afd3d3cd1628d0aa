"""The pages of docs/ say what the code says, and every link leads somewhere."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from obscura.settings.model import SETTINGS

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
PAGES = sorted((ROOT / "docs").glob("*.md"))


def anchors(page: Path) -> set[str]:
    """What a link may name behind a #: the headings, as GitHub spells them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_generating_the_page_of_metrics_anew_changes_nothing(tmp_path: Path) -> None:
    """Neither a name nor a label nor a text differs from obscura/observability/metrics/."""
    made = tmp_path / "metrics.md"
    subprocess.run([sys.executable, ROOT / "script/generate-metrics", made], check=True)
    assert made.read_text() == (ROOT / "docs/metrics.md").read_text()


def test_the_table_of_settings_has_one_row_for_each() -> None:
    """In the order of the help, with its default."""
    rows = re.findall(r"^\| `(OBSCURA_\w+)` \| `?(.*?)`? \|", (ROOT / "docs/settings.md").read_text(), re.MULTILINE)
    assert rows == [(setting.env, setting.default) for setting in SETTINGS.values()]


@pytest.mark.parametrize("page", [README, *PAGES], ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    """To a file of the repository, and a heading of it."""
    links = re.findall(r"\]\((?!https?:)([^)#]*)(?:#([^)]*))?\)", page.read_text())
    for name, anchor in links:
        target = (page.parent / name).resolve() if name else page
        assert target.is_file(), name
        assert not anchor or anchor in anchors(target), f"{name}#{anchor}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_setting_a_page_names_exists(page: Path) -> None:
    """A variable in docs/ is one that the server reads."""
    named = set(re.findall(r"OBSCURA_[A-Z_]+", page.read_text()))
    assert named <= {setting.env for setting in SETTINGS.values()}


def test_the_readme_leads_to_every_page() -> None:
    """What is in docs/ can be found from the front."""
    linked = set(re.findall(r"\]\((docs/[\w.-]+)", README.read_text()))
    assert linked == {os.fspath(page.relative_to(ROOT)) for page in PAGES}


def test_the_user_in_redis_is_the_same_everywhere() -> None:
    """The line of the security page is that of config/redis.conf, which is tested with a Redis."""
    rights = re.compile(r"^(?:#   (?:in a Cluster )?)?(user relay on .*|[+]asking .*)$", re.MULTILINE)
    lines = [rights.findall((ROOT / name).read_text()) for name in ("docs/security.md", "config/redis.conf")]
    assert len(lines[0]) == 2
    assert lines[0] == lines[1]
