"""Settings: where they come from, what is refused, and that no secret is shown."""

from collections.abc import Callable
from pathlib import Path

import pytest

from obscura.settings.fields import Setting
from obscura.settings.loading import load
from obscura.settings.model import SETTINGS
from tests.support.settings import OTHER_SECRET, SECRET, refusal

pytestmark = pytest.mark.libraries

# Right values of the settings that do not take just any number or text.
SAMPLES = {
    "max_inbox_bytes": "33554432",
    "workers": "2",
    "redis_wait_replicas": "0",
    "redis_url": "redis://redis.example/0",
    "jwt_secret": OTHER_SECRET,
    "log_format": "json",
    "log_level": "error",
    "trusted_proxies": "192.0.2.0/24",
    "cors_origins": "https://chat.example",
    "otlp_endpoint": "http://collector.example:4318",
    "otlp_sample_ratio": "0.5",
}

WriteToml = Callable[[str], str]


@pytest.fixture
def write_toml(tmp_path: Path) -> WriteToml:
    """Write a settings file and return its path."""

    def write(text: str) -> str:
        path = tmp_path / "relay.toml"
        path.write_text(text)
        return str(path)

    return write


def sample(setting: Setting) -> str:
    if setting.name in SAMPLES:
        return SAMPLES[setting.name]
    if setting.expected == "true or false":
        return "true"
    return "some-text" if setting.expected == "some text" else "7"


@pytest.mark.parametrize("setting", SETTINGS.values(), ids=SETTINGS)
def test_a_setting_reads_the_same_from_every_source(setting: Setting, write_toml: WriteToml) -> None:
    """Flag, environment and file set the same setting to the same value."""
    base = {} if setting.name == "jwt_secret" else {"OBSCURA_JWT_SECRET": SECRET}
    value = sample(setting)
    from_environment = load([], base | {setting.env: value})
    assert load(["--config", write_toml(f'{setting.name} = "{value}"')], base) == from_environment
    if setting.flag:
        assert load([setting.flag, value], base) == from_environment
    if value != setting.default:
        assert from_environment != load([], base)


def test_a_flag_outranks_the_environment_which_outranks_the_file(write_toml: WriteToml) -> None:
    """Each source is overruled by the next, setting by setting."""
    file = write_toml("port = 1001\nmgmt_port = 1002\nbatch_limit = 1003")
    settings = load(["--port", "3001", "--config", file], {"OBSCURA_PORT": "2001", "OBSCURA_MGMT_PORT": "2002"})
    assert (settings.port, settings.mgmt_port, settings.batch_limit) == (3001, 2002, 1003)


def test_numbers_and_lists_of_a_file_may_be_of_their_own_type(write_toml: WriteToml) -> None:
    """TOML numbers, booleans and arrays are taken as well as text."""
    file = write_toml(
        f'port = 8000\nttl_days = 0.5\nrefresh_token_retry = true\njwt_secret = ["{SECRET}", "{OTHER_SECRET}"]'
    )
    settings = load(["--config", file], {})
    assert (settings.port, settings.ttl_days, settings.refresh_token_retry) == (8000, 0.5, True)
    assert settings.jwt_secret == (SECRET, OTHER_SECRET)


def test_a_list_is_written_with_commas() -> None:
    """Entries are stripped, and empty ones left out."""
    settings = load(["--cors-origins", "https://a.example, https://b.example,"], {})
    assert settings.cors_origins == ("https://a.example", "https://b.example")


def test_a_switch_needs_no_value() -> None:
    """A flag of a boolean alone means true; false can be said."""
    assert load(["--refresh-token-retry", "--port", "1"], {}).refresh_token_retry is True
    assert load(["--refresh-token-retry=false"], {"OBSCURA_REFRESH_TOKEN_RETRY": "1"}).refresh_token_retry is False


def test_an_empty_variable_leaves_the_default() -> None:
    """Compose files pass variables on that are set to nothing."""
    assert load([], {"OBSCURA_REDIS_URL": "", "OBSCURA_PORT": ""}) == load([], {})


def test_an_empty_list_is_a_list_without_entries() -> None:
    """Nobody at all can be trusted as a proxy."""
    assert load([], {"OBSCURA_TRUSTED_PROXIES": ""}).trusted_proxies == ()


def test_other_programs_variables_do_not_matter() -> None:
    """Only the prefix OBSCURA_ is ours."""
    assert load([], {"PORT": "x", "OBSCURAX": "x", "PATH": "/bin"}) == load([], {})


def test_all_that_is_wrong_is_named_at_once(write_toml: WriteToml) -> None:
    """Each wrong or unknown setting has its line, with the name it was given under and what is expected."""
    file = write_toml("batch_limit = 0\nttl_day = 3")
    said = refusal("--port", "http", "--config", file, WORKERS="0", LOG_FORMAT="xml", MAX_SOKETS="5").splitlines()
    assert sorted(said) == sorted(
        [
            "--port must be a whole number from 0 up to 65535, not 'http'",
            f"batch_limit in {file} must be a whole number from 1 up to 2147483647, not '0'",
            f"ttl_day in {file} is not a setting; did you mean ttl_days (--ttl-days, OBSCURA_TTL_DAYS)?",
            "OBSCURA_WORKERS must be a whole number from 1 up to 256, not '0'",
            "OBSCURA_LOG_FORMAT must be one of text, json, not 'xml'",
            "OBSCURA_MAX_SOKETS is not a setting; did you mean max_sockets (--max-sockets, OBSCURA_MAX_SOCKETS)?",
        ]
    )


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--prot", "1"], "--prot is not a setting; did you mean port (--port, OBSCURA_PORT)?"),
        (["--batch_limit=3"], "--batch_limit is not a setting; did you mean batch_limit"),
        (["--max-sock", "3"], "--max-sock is not a setting"),
        (["-p", "3000"], "-p is not a setting"),
        (["3000"], "3000 is not a setting"),
        (["--host"], "--host must name an address to listen on, like 0.0.0.0 or ::"),
        (["--storage-region"], "--storage-region must be some text, not ''"),
        (["--port", "--host", "::1"], "--port must be a whole number from 0 up to 65535, not ''"),
        (["--config", "/nonexistent/relay.toml"], "--config /nonexistent/relay.toml cannot be read: No such file"),
        (["--config", "/"], "--config / cannot be read: Is a directory"),
    ],
)
def test_a_wrong_flag_is_named(flags: list[str], said: str) -> None:
    """Misspelt, unknown, shortened and empty flags are refused, each with one sentence."""
    assert refusal(*flags).startswith(said)
    assert "\n" not in refusal(*flags)


def test_a_file_that_is_not_toml_is_refused(write_toml: WriteToml) -> None:
    """The place of the mistake is told."""
    assert "is not TOML: " in refusal("--config", write_toml("port: 3000"))


def test_a_boolean_is_no_number(write_toml: WriteToml) -> None:
    """A file's ``true`` is not taken for port 1."""
    assert "port in " in refusal("--config", write_toml("port = true"))


@pytest.mark.parametrize("name", ["jwt-secret", "storage-secret-key"])
@pytest.mark.parametrize("form", ["--{}={}", "--{} {}"])
def test_a_secret_is_no_flag(name: str, form: str) -> None:
    """The process list would show it; the refusal says so and does not repeat the value."""
    said = refusal(*form.format(name, "hush-hush").split())
    assert said.startswith(f"--{name} is not a flag")
    assert "hush" not in said


@pytest.mark.parametrize(
    "environ",
    [
        {"JWT_SECRET": "hush"},
        {"REDIS_URL": "http://user:hush@h"},
        {"REDIS_URL": "redis://user:hush@h:port"},
        {"REDIS_URL": "redis://user:hush@h"},
        {"JWT_SECRETS": "hush"},
        {"JWT_SECRET": "x" * 40 + "hush", "STORAGE_SECRET_KEY": "hush", "PORT": "x"},
    ],
)
def test_a_refusal_quotes_no_secret(environ: dict[str, str]) -> None:
    """Whatever is wrong with or beside a secret, its value is not in the message."""
    assert "hush" not in refusal(**environ)


@pytest.mark.parametrize("flags", [["--redis-ulr", "redis://:hush@h"], ["--jwt", "hush"], ["--jwt-secrets=hush"]])
def test_the_value_of_a_misspelt_flag_is_not_quoted(flags: list[str]) -> None:
    """It may be a secret."""
    assert "hush" not in refusal(*flags)
