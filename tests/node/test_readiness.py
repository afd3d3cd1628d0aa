"""What /readyz answers, made of what its parts say."""

import logging

import pytest

from obscura.node.readiness import Readiness, status_of


async def passes() -> bool:
    return True


async def fails() -> bool:
    return False


async def breaks() -> bool:
    raise RuntimeError("of a check itself")


@pytest.mark.parametrize(
    ("failed", "status"),
    [
        (set(), "ok"),
        ({"storage"}, "degraded"),
        ({"database"}, "error"),
        ({"events", "storage"}, "error"),
    ],
)
def test_messaging_goes_on_without_attachments(failed: set[str], status: str) -> None:
    """Whatever else fails is an error of the whole."""
    assert (
        status_of({name: "error" if name in failed else "ok" for name in ("database", "storage", "events")}) == status
    )


async def test_each_part_is_named() -> None:
    """With what became of its check."""
    assert await Readiness({"database": passes, "storage": fails}, lambda: False)() == {
        "status": "degraded",
        "database": "ok",
        "storage": "error",
    }


async def test_a_process_that_drains_says_so() -> None:
    """However well its parts are."""
    assert await Readiness({"database": passes}, lambda: True)() == {"status": "draining", "database": "ok"}


async def test_a_check_that_breaks_has_failed(caplog: pytest.LogCaptureFixture) -> None:
    """The others are told all the same, and the log has what broke."""
    with caplog.at_level(logging.ERROR):
        answer = await Readiness({"database": breaks, "events": passes}, lambda: False)()
    assert answer == {"status": "error", "database": "error", "events": "ok"}
    assert "a health check failed by itself" in caplog.text
