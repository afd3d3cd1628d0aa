"""What each process of a node is told, and how much of the node's limits it has."""

import pytest

from obscura.processes.worker_config import WorkerConfig
from obscura.settings.division import Division
from obscura.settings.model import SETTINGS, Settings

DIVIDED_COUNTS = [name for name, setting in SETTINGS.items() if setting.divided is Division.COUNT]
SECRET = "a secret that is quite long enough for this"


def workers_of(settings: Settings) -> list[Settings]:
    """What the processes of a node run with."""
    return [WorkerConfig(number, settings).worker_settings for number in range(1, settings.workers + 1)]


@pytest.mark.parametrize("workers", [2, 3, 7])
@pytest.mark.parametrize("name", DIVIDED_COUNTS)
def test_the_parts_of_a_limit_are_the_limit(name: str, workers: int) -> None:
    """None is lost, none is too many, and no process is without."""
    parts = [getattr(worker, name) for worker in workers_of(Settings(workers=workers, **{name: 20}))]
    assert sum(parts) == 20
    assert max(parts) - min(parts) <= 1


def test_the_rates_of_all_processes_are_that_of_the_node() -> None:
    """Even the smallest rate is divided."""
    assert [one.rate_limit_per_second for one in workers_of(Settings(workers=4, rate_limit_per_second=0.001))] == [
        0.00025
    ] * 4


def test_limits_that_are_counted_in_redis_are_not_divided() -> None:
    """All processes count in one bucket."""
    settings = Settings(workers=3)
    for worker in workers_of(settings):
        assert worker.auth_rate_limit_per_second == settings.auth_rate_limit_per_second
        assert worker.login_rate_limit_burst == settings.login_rate_limit_burst


@pytest.mark.parametrize(("threads", "each"), [(7, 3), (2, 1), (1, 1)])
def test_threads_for_passwords_are_divided(threads: int, each: int) -> None:
    """Each process has one at least."""
    assert [one.password_workers for one in workers_of(Settings(workers=2, password_workers=threads))] == [
        each,
        each,
    ]


def test_a_config_arrives_as_it_was_sent(tmp_path: object) -> None:
    """Every setting, secrets and lists too, in one line."""
    settings = Settings(
        workers=3,
        rate_limit_per_second=0.001,
        data_dir=str(tmp_path),
        redis_url="redis://:hush@redis.example/0",
        jwt_secret=f"{SECRET},{SECRET[::-1]}",
        trusted_proxies="192.0.2.0/24,2001:db8::/32",
        cors_origins="https://chat.example",
        storage_secret_key="hush",
    )
    line = WorkerConfig(2, settings).to_json()
    assert b"\n" not in line
    assert WorkerConfig.from_json(line) == WorkerConfig(2, settings)
