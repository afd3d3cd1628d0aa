"""Settings that are refused, and secrets to be had in them."""

import pytest

from obscura.errors import SettingsError
from obscura.settings.loading import load

SECRET = "a secret that is quite long enough for this"
OTHER_SECRET = "another secret that is long enough as well"


def refusal(*flags: str, **environ: str) -> str:
    """Load settings that are refused, and return what is said."""
    with pytest.raises(SettingsError) as caught:
        load(flags, {f"OBSCURA_{name}": value for name, value in environ.items()})
    return str(caught.value)
