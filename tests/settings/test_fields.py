"""What is known of a setting besides its value."""

import pytest

from obscura.settings.fields import Setting
from obscura.settings.loading import load
from obscura.settings.model import SETTINGS


@pytest.mark.parametrize("setting", SETTINGS.values(), ids=SETTINGS)
def test_a_default_is_shown_as_it_would_be_written(setting: Setting) -> None:
    """The default that the help shows can be given as a value, and changes nothing."""
    given = {} if setting.default == "unset" else {setting.env: setting.default}
    assert load([], given) == load([], {})
