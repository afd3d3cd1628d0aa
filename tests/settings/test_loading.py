"""Settings: where they come from, what is refused, and that no secret is shown."""

from collections.abc import Callable
from ipaddress import ip_network
from pathlib import Path

import pytest
from pydantic import ValidationError

from obscura.errors import SettingsError
from obscura.settings.fields import Setting
from obscura.settings.loading import load
from obscura.settings.model import SETTINGS, Settings

SECRET = "a secret that is quite long enough for this"
OTHER_SECRET = "another secret that is long enough as well"

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


def refusal(*flags: str, **environ: str) -> str:
    """Load settings that are refused, and return what is said."""
    with pytest.raises(SettingsError) as caught:
        load(flags, {f"OBSCURA_{name}": value for name, value in environ.items()})
    return str(caught.value)


def test_defaults_are_those_of_the_design() -> None:
    """With nothing configured each setting has the default that the design gives it."""
    settings = load([], {})
    assert (settings.host, settings.port, settings.mgmt_port, settings.workers) == ("0.0.0.0", 3000, 9090, 1)
    assert (settings.redis_url, settings.jwt_secret, settings.data_dir) == (None, (), Path("obscura-data"))
    assert (settings.access_token_ttl_secs, settings.refresh_token_ttl_days, settings.ttl_days) == (900, 30, 30)
    assert (settings.max_inbox_size, settings.batch_limit, settings.max_sockets) == (1000, 50, 20_000)
    assert (settings.pre_key_refill_threshold, settings.max_pre_keys) == (20, 100)
    assert (settings.ws_ping_interval_secs, settings.ws_ping_timeout_secs) == (30, 10)
    private = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "127.0.0.1/32")
    assert settings.trusted_proxies == tuple(map(ip_network, private))


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


@pytest.mark.parametrize("setting", SETTINGS.values(), ids=SETTINGS)
def test_a_default_is_shown_as_it_would_be_written(setting: Setting) -> None:
    """The default that the help shows can be given as a value, and changes nothing."""
    given = {} if setting.default == "unset" else {setting.env: setting.default}
    assert load([], given) == load([], {})


def test_a_flag_outranks_the_environment_which_outranks_the_file(write_toml: WriteToml) -> None:
    """Each source is overruled by the next, setting by setting."""
    file = write_toml("port = 1001\nmgmt_port = 1002\nbatch_limit = 1003")
    settings = load(["--port", "3001", "--config", file], {"OBSCURA_PORT": "2001", "OBSCURA_MGMT_PORT": "2002"})
    assert (settings.port, settings.mgmt_port, settings.batch_limit) == (3001, 2002, 1003)


def test_settings_made_directly_read_nothing_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Settings of a test does not depend on the machine."""
    monkeypatch.setenv("OBSCURA_PORT", "1234")
    assert Settings().port == 3000


def test_settings_cannot_be_changed() -> None:
    """The model is frozen."""
    with pytest.raises(ValidationError):
        Settings().port = 1  # type: ignore[misc]


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


def test_an_inbox_holds_at_least_one_message_of_the_greatest_size() -> None:
    """Else the byte limit would be broken by a message that is allowed."""
    assert "OBSCURA_MAX_INBOX_BYTES" in refusal(MAX_INBOX_BYTES="1000", MAX_MESSAGE_BYTES="1001")


def test_a_reserve_leaves_keys_for_others() -> None:
    """A reserve of all the keys there can be would be a switch, and there is one for that."""
    assert refusal(PRE_KEY_RESERVE="100").endswith("must be smaller than OBSCURA_MAX_PRE_KEYS")
    assert load([], {"OBSCURA_PRE_KEY_RESERVE": "99"}).pre_key_reserve == 99


@pytest.mark.parametrize(
    "name", ["MAX_SOCKETS", "MAX_SOCKETS_PER_ACCOUNT", "MAX_SOCKETS_PER_ADDRESS", "RATE_LIMIT_BURST"]
)
def test_a_limit_that_processes_divide_is_one_for_each_at_least(name: str) -> None:
    """Else a node would admit more than it says, or one of its processes nobody."""
    said = refusal(WORKERS="3", **{name: "2"})
    assert said == f"OBSCURA_{name} must not be smaller than OBSCURA_WORKERS, which divide it among them"
    assert load([], {"OBSCURA_WORKERS": "3", f"OBSCURA_{name}": "3"}).workers == 3


@pytest.mark.parametrize("level", ["INFO", "Warn", "error"])
def test_log_levels_of_other_servers_are_understood(level: str) -> None:
    """Case does not matter, and warn is warning."""
    assert load([], {"OBSCURA_LOG_LEVEL": level}).log_level in {"info", "warning", "error"}


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
        (["--host"], "--host must be some text, not ''"),
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


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PORT", "-1"),
        ("PORT", "65536"),
        ("PORT", "80.5"),
        ("TTL_DAYS", "0"),
        ("TTL_DAYS", "-1"),
        ("TTL_DAYS", "nan"),
        ("TTL_DAYS", "inf"),
        ("ACCESS_TOKEN_TTL_SECS", "0"),
        ("MAX_PRE_KEYS", "0"),
        ("MAX_INBOX_BYTES", "64MB"),
        ("REFRESH_TOKEN_RETRY", "perhaps"),
        ("LOG_LEVEL", "loud"),
        ("TRUSTED_PROXIES", "10.0.0.0/8,localhost"),
        ("TRUSTED_PROXIES", "10.0.0.1/8"),
        ("REDIS_WAIT_REPLICAS", "-1"),
        ("RATE_LIMIT_PER_SECOND", "0"),
        ("AUTH_RATE_LIMIT_BURST", "0"),
        ("LOGIN_RATE_LIMIT_PER_MINUTE", "-1"),
        ("MAX_SOCKETS_PER_ACCOUNT", "0"),
        ("MAX_SOCKETS_PER_ADDRESS", "0"),
        ("PRE_KEY_RESERVE", "-1"),
    ],
)
def test_a_wrong_value_is_refused(name: str, value: str) -> None:
    """Values of the wrong kind or out of range stop the start."""
    assert refusal(**{name: value}).startswith(f"OBSCURA_{name} ")


@pytest.mark.parametrize(
    "origin", ["https://a.example", "http://localhost:8080", "http://[::1]:8080", "capacitor://localhost", "app://."]
)
def test_origins_of_pages_and_apps_are_taken(origin: str) -> None:
    """As browsers and web views write them."""
    assert load([], {"OBSCURA_CORS_ORIGINS": origin}).cors_origins == (origin,)


@pytest.mark.parametrize(
    "origin",
    [
        *("*", "null", "a.example", "https://", "https://*.a.example", "https://A.example", "https://u@a.example"),
        *("https://a.example/", "https://a.example?x", "https://a.example b", "https://a.example:443", "http://a:80"),
    ],
)
def test_an_origin_that_no_browser_sends_is_refused(origin: str) -> None:
    """It would allow nobody, or everybody, without a word."""
    said = refusal(CORS_ORIGINS=f"https://b.example,{origin}")
    example = "https://chat.example or http://localhost:8080"
    assert said == f"OBSCURA_CORS_ORIGINS has {origin!r}, which is no origin like {example}"


def test_a_boolean_is_no_number(write_toml: WriteToml) -> None:
    """A file's ``true`` is not taken for port 1."""
    assert "port in " in refusal("--config", write_toml("port = true"))


def test_lifetimes_may_be_fractional() -> None:
    """Days can be given in parts."""
    settings = load(["--ttl-days", "0.25", "--refresh-token-ttl-days=1.5"], {})
    assert (settings.ttl_days, settings.refresh_token_ttl_days) == (0.25, 1.5)


def test_a_refresh_token_lives_no_shorter_than_an_access_token() -> None:
    """Otherwise a session would end before its access token."""
    assert "OBSCURA_REFRESH_TOKEN_TTL_DAYS must not be shorter" in refusal(REFRESH_TOKEN_TTL_DAYS="0.01")


def test_the_two_ports_differ_unless_any_will_do() -> None:
    """The same port twice is refused; 0 twice is two free ones."""
    assert "OBSCURA_PORT and OBSCURA_MGMT_PORT must differ" in refusal("--port", "9090")
    assert load(["--port", "0", "--mgmt-port", "0"], {}).port == 0


@pytest.mark.parametrize("url", ["redis://h", "rediss://u:p@h:6380/1", "unix:///run/redis.sock", "redis://[::1]:6379"])
def test_urls_of_a_single_redis_are_taken(url: str) -> None:
    """TCP, TLS and unix sockets."""
    assert load([], {"OBSCURA_REDIS_URL": url, "OBSCURA_JWT_SECRET": SECRET}).redis_url == url


@pytest.mark.parametrize(
    "url",
    [
        "redis+sentinel://h/name",
        "redis+sentinel://h1:26379,h2,[2001:db8::1]:26380/name?db=2&sentinel_password=p",
        "rediss+sentinel://user:p%40ss@h1,h2/name",
        "redis+cluster://h",
        "redis+cluster://user:a,b@h1:7000,[::1]:7001,h3",
        "rediss+cluster://:p@h1,h2/?ssl_ca_certs=/etc/ca.pem",
    ],
)
def test_urls_of_several_servers_are_taken(url: str) -> None:
    """Through Sentinels, with the name of the service, and of a Cluster."""
    assert load([], {"OBSCURA_REDIS_URL": url, "OBSCURA_JWT_SECRET": SECRET}).redis_url == url


@pytest.mark.parametrize(
    "url",
    [
        *("h:6379", "http://h", "redis://h:pass", "redis://[::1", "unix://", "redis://:hush@h1,h2"),
        *("redis+sentinel://:hush@h", "redis+sentinel://h1,,h2/name", "redis+sentinel:///name"),
        *("redis+cluster://:hush@h1,h2:port", "redis+cluster://h/1", "redis+cluster://h:0", "unix+cluster://h"),
        *("redis+proxy://h", "redis+cluster://:hush@h1,h2:70000"),
    ],
)
def test_other_urls_are_refused(url: str) -> None:
    """What is no URL of Redis, a Sentinel without a service, a Cluster with a database; no password is quoted."""
    said = refusal(REDIS_URL=url, JWT_SECRET=SECRET)
    assert said.startswith("OBSCURA_REDIS_URL must be like redis://host:6379/0")
    assert "hush" not in said


def test_a_shared_redis_needs_a_secret_of_the_operator() -> None:
    """A secret made up by each node would be refused by the others."""
    assert refusal(REDIS_URL="redis://h").startswith("OBSCURA_REDIS_URL needs OBSCURA_JWT_SECRET")


def test_a_short_secret_is_refused_among_long_ones() -> None:
    """Each entry of the list has to have 32 bytes."""
    assert refusal(JWT_SECRET=f"{SECRET},{'x' * 31}") == "OBSCURA_JWT_SECRET has an entry shorter than 32 bytes"
    assert load([], {"OBSCURA_JWT_SECRET": "x" * 32}).jwt_secret == ("x" * 32,)


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


def test_the_model_shows_no_secret() -> None:
    """Neither its repr nor pydantic's own error holds one."""
    settings = Settings(jwt_secret=(SECRET,), redis_url="redis://:hush@h", storage_secret_key="hush")
    assert "hush" not in repr(settings)
    assert SECRET not in repr(settings)
    with pytest.raises(ValidationError) as caught:
        Settings(jwt_secret=("hush",))
    assert "hush" not in str(caught.value)
