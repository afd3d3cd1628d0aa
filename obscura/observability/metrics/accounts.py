"""Metrics of sessions, keys and passwords."""

from obscura.observability.metrics.declaration import Topic
from obscura.observability.metrics.http import ANSWER_BOUNDS

ACCOUNTS = Topic("Accounts, keys and abuse")

SESSIONS_STARTED = ACCOUNTS.counter(
    "obscura_sessions_started",
    "Sessions started.",
    {"by": ("registration", "login")},
    watch="a jump of registrations: see the `auth` tier of the limits",
)
SESSIONS_REFRESHED = ACCOUNTS.counter(
    "obscura_sessions_refreshed",
    "Refresh tokens exchanged.",
    watch="about one for each active session in 15 minutes",
)
SESSIONS_ENDED = ACCOUNTS.counter(
    "obscura_sessions_ended",
    "Sessions ended before they expired.",
    {"reason": ("logout", "takeover", "token reused", "too many")},
    watch="`too many`: a client that logs in where it should refresh",
)
REFRESH_REUSED = ACCOUNTS.counter(
    "obscura_refresh_reused",
    "Sessions ended because a refresh token was used again.",
    watch="a stolen token, or a client that loses its new one",
)
REFRESH_RACED = ACCOUNTS.counter(
    "obscura_refresh_raced",
    "Refresh tokens that came again within moments.",
    {"outcome": ("retried", "refused")},
    detail="Moments are 10 seconds. `retried`: with the same answer, for `OBSCURA_REFRESH_TOKEN_RETRY`.",
    watch="clients that refresh twice at once, or lose answers",
)
REFRESH_UNANSWERED = ACCOUNTS.counter(
    "obscura_refresh_unanswered",
    "Exchanges of refresh tokens without a reply of Redis, and what came of them.",
    {"outcome": ("taken back", "given up")},
    detail="`taken back`: the old token holds. `given up`: there were too many to take back.",
    watch="Redis was away. `given up`: these clients may have to log in again",
)
KEY_UPLOADS_RESTARTED = ACCOUNTS.counter(
    "obscura_key_uploads_restarted",
    "Uploads of keys begun anew since the account's keys changed meanwhile.",
    watch="two devices of one account at once; often: a client in a loop",
)
TAKEOVERS = ACCOUNTS.counter(
    "obscura_takeovers",
    "Devices replaced.",
    watch="a jump: stolen passwords, or a client that makes new keys at each start",
)
PRE_KEYS_LOW = ACCOUNTS.counter(
    "obscura_pre_keys_low",
    "Bundle fetches that took an account below the threshold.",
    detail="It is `OBSCURA_PRE_KEY_REFILL_THRESHOLD`.",
    watch="the account's client should upload keys soon after",
)
PRE_KEYS_EXHAUSTED = ACCOUNTS.counter(
    "obscura_pre_keys_exhausted",
    "Bundles handed out without a one-time pre-key.",
    watch="clients that do not refill, or somebody who empties accounts",
)
PRE_KEYS_WITHHELD = ACCOUNTS.counter(
    "obscura_pre_keys_withheld",
    "Bundles given without a one-time pre-key, to callers who were not logged in.",
    detail="The reserve is `OBSCURA_PRE_KEY_RESERVE`.",
    watch="somebody who empties accounts",
)
PASSWORDS_WAITING = ACCOUNTS.gauge(
    "obscura_password_hashes_waiting",
    "Password hashes waiting for a thread.",
    watch="above 0 for long: more `OBSCURA_PASSWORD_WORKERS`, more CPU, or an attack",
)
PASSWORDS_RUNNING = ACCOUNTS.gauge("obscura_password_hashes_running", "Password hashes under way.")
PASSWORDS_REFUSED = ACCOUNTS.counter(
    "obscura_password_hashes_refused",
    "Logins and registrations refused as too many.",
    watch="as for the hashes that wait",
)
PASSWORD_SECONDS = ACCOUNTS.histogram(
    "obscura_password_hash_duration_seconds",
    "Of password hashes: the wait, and the run.",
    ANSWER_BOUNDS,
    {"phase": ()},
    detail="`wait` is for a thread, `run` is in it.",
    watch="`run` above 0.1: the machine is short of CPU",
)
