"""What the pages say is so: links lead somewhere, and what they name exists and is spelled so."""

import ast
import io
import re
import subprocess
import sys
from contextlib import redirect_stdout, suppress
from functools import cache
from pathlib import Path

import pytest

from obscura.api.routes import API_ROUTES, MANAGEMENT_ROUTES
from obscura.cli import main
from obscura.observability.metrics import TOPICS
from obscura.settings.model import SETTINGS
from tests.support.pages import PAGES, ROOT, anchors, code_spans, links, name_of, read

FOLDERS = ("benchmarks", "config", "docs", "examples", "lua", "obscura", "proto", "script", "tests", ".ci")
NAMES = {metric.name for topic in TOPICS for metric in topic.metrics}
SHELL_BLOCKS = re.compile(r"^```(?:console|sh)\n(.*?)^```", re.MULTILINE | re.DOTALL)

of_every_page = pytest.mark.parametrize("page", PAGES, ids=name_of)


def commands(page: Path) -> list[str]:
    """Each `obscura …` and `script/…` of a page, in a line of text or in a block to be copied."""
    text = page.read_text()
    lines = [line.removeprefix("$ ") for block in SHELL_BLOCKS.findall(text) for line in block.splitlines()]
    return [one for one in [*code_spans(text), *lines] if re.match(r"(obscura|script/\w)", one)]


@cache
def help_of(command: str) -> str:
    """What `obscura COMMAND --help` prints."""
    printed = io.StringIO()
    with redirect_stdout(printed), suppress(SystemExit):
        main([command, "--help"])
    return printed.getvalue()


def text_files() -> list[Path]:
    """Every file of the project that may cite another."""
    found = [file for folder in FOLDERS for file in (ROOT / folder).rglob("*") if file.is_file()]
    found += [file for file in ROOT.iterdir() if file.is_file()]
    return [file for file in found if "__pycache__" not in file.parts and file.suffix not in {".svg", ".pyc", ".bin"}]


def defined(tree: ast.AST, name: str) -> bool:
    """Whether a module has this function or class, or this method of a class."""
    for part in name.split("."):
        kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
        found = [node for node in ast.iter_child_nodes(tree) if isinstance(node, kinds) and node.name == part]
        if not found:
            return False
        tree = found[0]
    return True


@of_every_page
def test_every_link_leads_somewhere(page: Path) -> None:
    """To a file of the repository, and a heading of it."""
    for name, anchor in links(page):
        target = (page.parent / name).resolve() if name else page
        assert target.is_file(), name
        assert not anchor or anchor in anchors(target), f"{name}#{anchor}"


@of_every_page
def test_every_setting_it_names_exists(page: Path) -> None:
    """A variable on a page is one that the server reads."""
    named = set(re.findall(r"\bOBSCURA_[A-Z_0-9]+", page.read_text()))
    assert named <= {setting.env for setting in SETTINGS.values()}


@of_every_page
def test_every_metric_it_names_exists(page: Path) -> None:
    """In full, or as a series of a histogram."""
    named = set(re.findall(r"\bobscura_(?!pb2)[a-z_]+", page.read_text()))
    assert {re.sub(r"_(bucket|sum|count)$", "", name) for name in named - NAMES} <= NAMES


@of_every_page
def test_every_file_it_names_exists(page: Path) -> None:
    """A path is in the repository; what stands behind its colon is a function, class or method in it."""
    for span in code_spans(page.read_text()):
        path, _, names = span.split()[0].partition(":")
        if not re.match(rf"({'|'.join(map(re.escape, FOLDERS))})/", path) or "NAME" in path:
            continue
        assert list(ROOT.glob(path)), span
        for name in filter(None, names.split(",")):
            assert defined(ast.parse(read(path)), name), span


@of_every_page
def test_every_route_it_names_exists(page: Path) -> None:
    """A path of the API or of the management port is one that is served."""
    served = {route.path for route in [*API_ROUTES, *MANAGEMENT_ROUTES]}
    spans = "\n".join(code_spans(page.read_text()))
    named = re.findall(r"(?<![\w/.])(/v1/[\w/{}]+|/(?:livez|readyz|metrics|docs|openapi\.yaml))(?![\w/])", spans)
    templates = [re.sub(r"{\w+}", "{}", route) for route in served]
    for path in named:
        assert any(route.startswith(re.sub(r"{\w+}", "{}", path)) for route in templates), path


@of_every_page
def test_every_command_it_names_exists(page: Path) -> None:
    """With its subcommand and flags."""
    flags_of_serve = {"--config", "--help"} | {f"--{name.replace('_', '-')}" for name in SETTINGS}
    flags = {
        "serve": flags_of_serve,
        "inspect": flags_of_serve | set(re.findall(r"--[a-z]+", help_of("inspect"))),
        "backup": flags_of_serve,
        "restore": flags_of_serve,
        "bench": set(re.findall(r"--[a-z-]+", help_of("bench"))),
    }
    for line in commands(page):
        command, *words = line.split("#")[0].split()
        if command.startswith("script/"):
            assert (ROOT / command).is_file(), line
        elif command == "obscura" and words:
            assert words[0] in {*flags, "--version", "--help"}, line
            assert {word for word in words[1:] if word.startswith("--")} <= flags.get(words[0], set()), line
            if words[0] == "inspect" and len(words) > 1 and words[1].islower():
                assert re.search(rf"^  {words[1]}\b", help_of("inspect"), re.MULTILINE), line


def test_no_file_cites_a_page_that_is_not_there() -> None:
    """Whatever in the repository names a page or a module by its path: it can be opened."""
    kinds = "md|py|lua|proto|yaml|conf|cfg|env|json"
    path = re.compile(rf"(?<![\w/.{{}}-])((?:{'|'.join(map(re.escape, FOLDERS))})/[\w./-]*\.(?:{kinds}))\b")
    page = re.compile(r"(?<![\w/.{}*-])((?:\w[\w-]*/)*[\w-]+\.md)\b")
    missing = []
    for file in text_files():
        text = file.read_text(errors="ignore")
        missing += [
            f"{name_of(file)}: {name}"
            for name in path.findall(text)
            if not any((top / name).exists() for top in (ROOT, ROOT / "proto", ROOT / "tests"))
        ]
        for name in page.findall(text):
            places = (ROOT, file.parent, ROOT / "docs", ROOT / "tests" / "crypto")
            if not any((place / name).exists() for place in places):
                missing.append(f"{name_of(file)}: {name}")
    assert not missing, "\n".join(missing)


def test_the_index_lists_every_page() -> None:
    """What is in docs/, and what lies beside it, can be found by its question."""
    index = ROOT / "docs" / "README.md"
    listed = {(index.parent / name).resolve() for name, _ in links(index)}
    assert {index, *listed} == set(PAGES)


def test_generating_pages_anew_changes_nothing(tmp_path: Path) -> None:
    """Metrics, limits, keys and the map of the rooms are what the code says."""
    (tmp_path / "docs").mkdir()
    subprocess.run([sys.executable, ROOT / "script/generate-docs", tmp_path], check=True)
    for name in ("docs/metrics.md", "docs/limits.md", "docs/redis-cli.md", "CONTRIBUTING.md"):
        assert (tmp_path / name).read_text() == read(name)


def test_the_table_of_settings_has_one_row_for_each() -> None:
    """In the order of the help, with its default."""
    found = re.findall(r"^\| `(OBSCURA_\w+)` \| `?(.*?)`? \|", read("docs/settings.md"), re.MULTILINE)
    assert found == [(setting.env, setting.default) for setting in SETTINGS.values()]


def test_the_user_in_redis_is_the_same_everywhere() -> None:
    """The line of the security page is that of config/redis.conf, which is tested with a Redis."""
    rights = re.compile(r"^(?:#   (?:in a Cluster )?)?(user relay on .*|[+]asking .*)$", re.MULTILINE)
    lines = [rights.findall(read(name)) for name in ("docs/security.md", "config/redis.conf")]
    assert len(lines[0]) == 2
    assert lines[0] == lines[1]
