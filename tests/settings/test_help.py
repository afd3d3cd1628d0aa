"""The help of `obscura serve`."""

import pytest

from obscura.settings.help import serve_help
from obscura.settings.model import SETTINGS


@pytest.mark.parametrize("columns", [80, 400])
def test_it_fits_the_terminal(columns: int) -> None:
    """And is no wider than a text that reads well."""
    assert max(map(len, serve_help(columns).splitlines())) <= min(columns, 100)


def test_settings_stand_under_their_topics() -> None:
    """Each topic once, in the order of the model."""
    topics = list(dict.fromkeys(setting.topic for setting in SETTINGS.values()))
    headings = [line[:-1] for line in serve_help(80).splitlines() if line.endswith(":") and not line.startswith(" ")]
    assert headings == topics
