"""Every script says what it does in the same way, and what it says is so."""

import re
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

import pytest

from obscura.redis_client.scripts import script_folder
from tests.support.scripts import ScriptRunner

MAX_CODE_LINES = 60
MAX_ARGUMENTS = 8

# Counts, reads, acks, leases, looks at Redis and clean-up. All other scripts write what may not be lost.
NOT_REPLICATED = (
    *(
        "accounts_rehash",
        "usernames_release",
        "attachments_claim",
        "leases_*",
        "rate_limit_*",
        "health_probe",
        "nodes_report",
        "data_mark",
    ),
    *("attachments_spend", "attachments_unspend", "attachments_reserve", "attachments_settle"),
    *("messages_ack", "messages_expire", "messages_survey", "messages_read", "messages_move_expiry"),
    "sessions_list_ended",
)

ROOT = Path(__file__).parents[2]
NAMED = re.compile(r"^local (\w+)\s+= (?:\w+(?:\.\w+)?\()?(KEYS|ARGV)\[(\d+)\]\)?(?:\s+-- (.+))?$")
REST = re.compile(r"^-- (KEYS|ARGV)\[(\d+)\.\.n\](?:, hashes)?: \S")
TYPES = ("string", "hash", "zset", "stream", "channel")


@dataclass(frozen=True)
class Script:
    name: str
    lines: list[str]

    @property
    def header(self) -> list[str]:
        """The comment it begins with."""
        end = next(index for index, line in enumerate(self.lines) if not line.startswith("--"))
        return self.lines[:end]

    @property
    def code(self) -> list[str]:
        """Its lines without comments and blank ones."""
        bare = (re.sub(r"\s*--.*", "", line) for line in self.lines)
        return [line for line in bare if line]

    def named(self, kind: str) -> list[tuple[str, int, str | None]]:
        """The locals that name KEYS or ARGV: name, index, comment."""
        found = [match for match in map(NAMED.match, self.lines) if match and match[2] == kind]
        return [(match[1], int(match[3]), match[4]) for match in found]


SCRIPTS = [
    Script(file.name, file.read_text().splitlines())
    for file in sorted(script_folder().iterdir(), key=lambda file: file.name)
    if file.name.endswith(".lua")
]

pytestmark = pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)


def test_a_script_states_its_purpose_under_its_own_name(script: Script) -> None:
    """The first line is the file's name and one sentence."""
    assert re.fullmatch(rf"-- {re.escape(script.name)}: \S.*\.", script.header[0])


@pytest.mark.parametrize(
    "part", ["Why a script: .", "Returns: .", "Repeatable: (yes|no|only)\\b", "Replicated: (yes|no)\\.$"]
)
def test_a_header_has_all_its_parts(script: Script, part: str) -> None:
    """Why it is a script, what it returns, whether a repeat is safe, whether replicas count: each once."""
    assert len([line for line in script.header if re.match(f"-- {part}", line)]) == 1


@pytest.mark.parametrize("kind", ["KEYS", "ARGV"])
def test_every_value_has_a_name(script: Script, kind: str) -> None:
    """KEYS and ARGV become locals in their order, each once; only the rest of a list is used by index."""
    indexes = [index for _, index, _ in script.named(kind)]
    assert indexes == list(range(1, len(indexes) + 1))
    assert len(re.findall(rf"{kind}\[\d+\]", "\n".join(script.code))) == len(indexes)
    rest = [int(match[2]) for match in map(REST.match, script.lines) if match and match[1] == kind]
    uses_rest = any(re.search(rf"#{kind}\b|\({kind}[,)]", line) for line in script.code)
    assert rest == ([len(indexes) + 1] if uses_rest else [])


def test_every_key_has_its_type_beside_it(script: Script) -> None:
    """The comment of a key begins with what Redis calls its type."""
    assert script.named("KEYS")
    for name, _, comment in script.named("KEYS"):
        assert comment, f"{name} has no comment"
        assert comment.startswith(TYPES), f"{name} is a {comment}"


def test_every_named_value_is_used(script: Script) -> None:
    """A local that nothing reads is a lie about what the script needs."""
    for kind in ("KEYS", "ARGV"):
        for name, _, _ in script.named(kind):
            assert len(re.findall(rf"\b{name}\b", "\n".join(script.code))) > 1, name


def test_every_outcome_is_in_the_header(script: Script) -> None:
    """Each word that a return statement can give is listed under Returns."""
    header = "\n".join(script.header)
    returns = [line for line in script.code if re.match(r"\s*return\b", line)]
    words = {word for line in returns for word in re.findall(r"'([a-z-]+)'", line)}
    assert {word for word in words if f"'{word}'" not in header} == set()


def test_a_script_is_short(script: Script) -> None:
    """At most 60 lines of code, 8 named arguments and 120 columns."""
    assert len(script.code) <= MAX_CODE_LINES
    assert len(script.named("ARGV")) <= MAX_ARGUMENTS
    assert max(map(len, script.lines)) <= 120


def test_a_script_is_run_by_the_store_under_its_name(script: Script) -> None:
    """No script is left over."""
    sources = [file.read_text() for file in (ROOT / "obscura" / "store").glob("*.py")]
    assert any(f'"{script.name.removesuffix(".lua")}"' in source for source in sources)


def test_the_scripts_a_script_mentions_exist(script: Script) -> None:
    """A name in a comment, with or without an asterisk, is that of a file."""
    for mentioned in re.findall(r"[\w*]+\.lua", "\n".join(script.lines)):
        assert any(fnmatch(other.name, mentioned) for other in SCRIPTS), mentioned


def test_what_may_not_be_lost_is_replicated(script: Script) -> None:
    """Accounts, keys, sessions, messages and uploads wait for replicas; counts, reads and clean-up do not."""
    is_exempt = any(fnmatch(script.name, f"{pattern}.lua") for pattern in NOT_REPLICATED)
    assert ("-- Replicated: yes." in script.header) is not is_exempt


def test_redis_compiles_it(script: Script, scripts: ScriptRunner) -> None:
    """Redis takes the script as it is."""
    assert scripts.redis.script_load("\n".join(script.lines))
