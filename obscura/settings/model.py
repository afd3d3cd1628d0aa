"""Every setting of the server, in one frozen model; `obscura.settings.loading` reads their values.

A new setting is one more field here, and a line where it is used: flag, variable, checks, help and
documents follow from it (run `script/generate-settings`). A `Settings` made directly, as tests do,
reads nothing from the machine it runs on.
"""

from collections.abc import Mapping
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, model_validator

from obscura.settings.division import Division
from obscura.settings.fields import Setting, describe, topic
from obscura.settings.types import (
    Count,
    CountOrZero,
    Days,
    FilePath,
    Hosts,
    HttpUrl,
    JwtSecrets,
    LogLevel,
    Milliseconds,
    Networks,
    Origins,
    Port,
    Processes,
    Rate,
    Ratio,
    RedisUrl,
    Seconds,
    SecondsOrZero,
    Size,
    SizeOrZero,
    Text,
    WholeSeconds,
)

_SECS_PER_DAY = 86_400

# What common WebSocket libraries take of one message unless told otherwise, and what a frame of
# the gateway has around a body of that size (obscura/gateway/formats/frames_0_3.py).
_COMMON_MAX_FRAME_BYTES = 2**20
_FRAME_OVERHEAD_BYTES = 91

_node = topic("Node")
_traces = topic("Traces")
_redis = topic("Redis and data")
_accounts = topic("Accounts and sessions")
_keys = topic("Keys")
_messages = topic("Messages")
_gateway = topic("Gateway")
_limits = topic("Rate limits")
_storage = topic("Attachments")
_proxy = topic("Proxies and browsers")


class Settings(BaseModel):
    """The values one node runs with; checked on their own and against each other."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, validate_default=True, hide_input_in_errors=True
    )

    host: Hosts = _node(
        "0.0.0.0",  # noqa: S104
        "Addresses or names that both ports listen on, comma-separated; :: is all of IPv6 and IPv4.",
    )
    port: Port = _node(3000, "Port of the API; 0 takes any free one.")
    mgmt_port: Port = _node(9090, "Port of /livez, /readyz and /metrics, never for clients; 0 takes any free one.")
    workers: Processes = _node(1, "Processes that serve; the limits of this node hold for all of them together.")
    drain_secs: SecondsOrZero = _node(
        0, "Seconds over which a stop spreads the goodbyes to open sockets, while requests are still served."
    )
    shutdown_timeout_secs: Seconds = _node(5, "Seconds a stop may take after that until open requests are cut.")
    log_format: Literal["text", "json"] = _node("text", "How a log line is written: text or json.")
    log_level: LogLevel = _node("info", "Least level that is logged: debug, info, warning or error.")
    health_db_timeout_ms: Milliseconds = _node(2000, "Milliseconds that /readyz waits for Redis.")

    otlp_endpoint: HttpUrl | None = _traces(
        None, "Base URL of an OpenTelemetry collector for traces, over OTLP/HTTP; unset: no traces."
    )
    otlp_sample_ratio: Ratio = _traces(1, "Share of the traces that is sent, from 0 to 1.")

    redis_url: RedisUrl | None = _redis(
        None,
        "Redis or Valkey to use (redis://, rediss://, unix://, redis+sentinel:// or redis+cluster://); unset: "
        "the node runs its own in the data directory. A flag shows in the process list: keep a password in the "
        "environment or the file.",
        secret=True,
    )
    data_dir: FilePath = _redis(
        "./obscura-data", "Directory of the node's own Redis, of the secret it makes and, by default, of attachments."
    )
    redis_wait_replicas: CountOrZero = _redis(
        0, "Replicas that must have a copy of what may not be lost before it is answered; too few: 503."
    )

    jwt_secret: JwtSecrets = _accounts(
        "",
        "Secrets of access tokens, at least 32 bytes each, comma-separated: the first signs, all verify; unset: "
        "a random one kept in the data directory, or a refusal to start with redis_url.",
        secret=True,
        flag=False,
    )
    access_token_ttl_secs: WholeSeconds = _accounts(
        900,
        "Seconds an access token is valid; a node takes none that lives more than a minute longer, so where it is "
        "raised by more, restart all nodes at once.",
    )
    refresh_token_ttl_days: Days = _accounts(30, "Days a refresh token is valid; may be fractional.")
    refresh_token_retry: bool = _accounts(
        False, "Whether the previous refresh token gets the same successor again for 10 seconds: true or false."
    )
    max_sessions_per_account: Count = _accounts(
        100, "Sessions of one account; a login past them ends the one used longest ago."
    )
    password_workers: CountOrZero = _accounts(
        0, "Threads that hash passwords; 0: one less than cores, at least 1.", divided=Division.THREADS
    )

    max_pre_keys: Count = _keys(100, "One-time pre-keys kept per account.")
    pre_key_refill_threshold: CountOrZero = _keys(20, "One-time pre-keys left below which a client is told.")
    pre_key_reserve: CountOrZero = _keys(0, "Last one-time pre-keys of an account, kept for callers who are logged in.")
    bundle_requires_login: bool = _keys(False, "Whether only who is logged in gets key bundles: true or false.")

    ttl_days: Days = _messages(
        30, "Days a message waits for its recipient; may be fractional. A change holds for what waits already."
    )
    max_message_bytes: Size = _messages(
        _COMMON_MAX_FRAME_BYTES - _FRAME_OVERHEAD_BYTES,
        f"Bytes of one message's body. Its recipient gets a frame that is {_FRAME_OVERHEAD_BYTES} bytes larger: by "
        "default 1 MiB, which is as much as many WebSocket libraries take.",
    )
    max_inbox_size: Count = _messages(1000, "Messages that wait for one account; past them the oldest go.")
    max_inbox_bytes: Size = _messages(64 * 2**20, "Bytes that wait for one account; past them the oldest go.")
    messaging_cleanup_interval_secs: Seconds = _messages(300, "Seconds between removals of expired messages.")
    batch_limit: Count = _messages(50, "Messages read from an inbox at once.")

    max_sockets: Count = _gateway(20_000, "Open sockets of this node.", divided=Division.COUNT)
    max_sockets_per_account: Count = _gateway(
        8, "Open sockets of one account on one process; past them the one that has been silent for longest is closed."
    )
    max_sockets_per_address: Count = _gateway(
        1000, "Open sockets of one client address on this node.", divided=Division.COUNT
    )
    ws_outbound_buffer_size: Count = _gateway(32, "Messages held in memory for a slow socket.")
    ws_write_timeout_secs: Seconds = _gateway(10, "Seconds after which a socket that takes nothing is closed.")
    ws_ack_batch_size: Count = _gateway(50, "Acks gathered before they are written to Redis.")
    ws_ack_flush_interval_ms: Milliseconds = _gateway(500, "Milliseconds an ack waits at most to be written.")
    ws_ping_interval_secs: Seconds = _gateway(30, "Seconds between pings to a client.")
    ws_ping_timeout_secs: Seconds = _gateway(10, "Seconds of silence after a ping until the socket is dropped.")

    rate_limit_per_second: Rate = _limits(
        10, "Requests per second and client address, of one node.", divided=Division.RATE
    )
    rate_limit_burst: Count = _limits(
        20, "Requests of one client address at once, to one node.", divided=Division.COUNT
    )
    auth_rate_limit_per_second: Rate = _limits(
        1, "Registrations, logins, and failed refreshes and logouts, per second and client address."
    )
    auth_rate_limit_burst: Count = _limits(
        10, "Registrations, logins, and failed refreshes and logouts of one client address at once."
    )
    login_rate_limit_per_minute: Rate = _limits(6, "Failed logins per minute and username.")
    login_rate_limit_burst: Count = _limits(12, "Failed logins of one username at once.")
    bundle_rate_limit_per_minute: Rate = _limits(6, "Key bundles per minute, of one account to one address.")
    bundle_rate_limit_burst: Count = _limits(12, "Key bundles at once, of one account to one address.")

    trusted_proxies: Networks = _proxy(
        "10.0.0.0/8,172.16.0.0/12,192.168.0.0/16,127.0.0.1/32,fc00::/7,::1/128",
        "Networks of the proxies whose X-Forwarded-For is believed, comma-separated.",
    )
    cors_origins: Origins = _proxy(
        "", "Origins of web clients, like https://chat.example, comma-separated; unset: CORS is off."
    )

    storage_bucket: Text | None = _storage(None, "S3 bucket for attachments; unset: a directory.")
    storage_region: Text = _storage("us-east-1", "Region of the bucket.")
    storage_endpoint: Text | None = _storage(None, "URL of an S3 server that is not Amazon's.")
    storage_access_key: Text | None = _storage(None, "Access key of the bucket.")
    storage_secret_key: Text | None = _storage(None, "Secret key of the bucket.", secret=True, flag=False)
    storage_force_path_style: bool = _storage(False, "Whether the bucket goes into the URL's path: true or false.")
    storage_dir: FilePath | None = _storage(None, "Directory for attachments; unset: one in the data directory.")
    storage_min_free_bytes: SizeOrZero = _storage(
        256 * 2**20,
        "Bytes of the directory's disk that attachments leave free; with less, uploads are 503. 0: no reserve.",
    )
    storage_max_size_bytes: Size = _storage(50 * 2**20, "Bytes of one attachment.")
    storage_daily_bytes_per_account: SizeOrZero = _storage(
        2 * 2**30, "Bytes of attachments that one account may store in 24 hours; 0: no limit."
    )
    storage_max_total_bytes: SizeOrZero = _storage(
        0, "Bytes of all attachments together; past them uploads are 503 until some expire. 0: no limit."
    )
    storage_cleanup_interval_secs: Seconds = _storage(3600, "Seconds between removals of expired attachments.")
    storage_cleanup_batch_size: Count = _storage(100, "Expired attachments removed at once.")
    storage_health_timeout_ms: Milliseconds = _storage(2000, "Milliseconds that /readyz waits for the storage.")

    def is_given(self, name: str) -> bool:
        """Whether somebody set this setting, to whatever value; else it has its default."""
        return name in self.model_fields_set

    @model_validator(mode="after")
    def _cross_validate(self) -> Self:
        wrong = []
        if self.refresh_token_ttl_days * _SECS_PER_DAY < self.access_token_ttl_secs:
            wrong.append("OBSCURA_REFRESH_TOKEN_TTL_DAYS must not be shorter than OBSCURA_ACCESS_TOKEN_TTL_SECS")
        if self.port == self.mgmt_port != 0:
            wrong.append("OBSCURA_PORT and OBSCURA_MGMT_PORT must differ")
        if self.redis_url and not self.jwt_secret:
            wrong.append("OBSCURA_REDIS_URL needs OBSCURA_JWT_SECRET, the same on every node that uses that Redis")
        if self.max_inbox_bytes < self.max_message_bytes:
            wrong.append("OBSCURA_MAX_INBOX_BYTES must not be smaller than OBSCURA_MAX_MESSAGE_BYTES")
        if self.pre_key_reserve >= self.max_pre_keys:
            wrong.append("OBSCURA_PRE_KEY_RESERVE must be smaller than OBSCURA_MAX_PRE_KEYS")
        wrong += [
            f"OBSCURA_{name.upper()} must not be smaller than OBSCURA_WORKERS, which divide it among them"
            for name, setting in SETTINGS.items()
            if setting.divided is Division.COUNT and getattr(self, name) < self.workers
        ]
        if wrong:
            raise ValueError("\n".join(wrong))
        return self


SETTINGS: Mapping[str, Setting] = {name: describe(name, field) for name, field in Settings.model_fields.items()}
