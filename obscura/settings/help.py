"""The help of ``obscura serve``: each setting by flag, variable, meaning and default."""

import textwrap
from itertools import groupby

from obscura.settings.fields import Setting
from obscura.settings.model import SETTINGS

_PARAGRAPHS = (
    "usage: obscura serve [--config FILE] [--SETTING VALUE ...]",
    "Run one node of the relay until SIGINT or SIGTERM; a second one does not wait for open requests.",
    "Each setting comes from its flag, else from its variable in the environment, else from the TOML file (where "
    "OBSCURA_LOG_LEVEL is log_level), else it is the default. The entries of a list are parted by commas. Some "
    "secrets have no flag, since the process list would show it.",
)

_MAX_COLUMNS = 100
_NO_BREAK = "\N{NO-BREAK SPACE}"
_MAY_BREAK = "\f"  # to the wrapper a blank, and taken out afterwards
_FLAG_COLUMNS = max(len(setting.flag or "") for setting in SETTINGS.values())


def serve_help(columns: int) -> str:
    """Render the help for a terminal of so many columns."""
    wrap = textwrap.TextWrapper(
        min(columns, _MAX_COLUMNS), break_on_hyphens=False, break_long_words=False, replace_whitespace=False
    )
    parts = [wrap.fill(paragraph) for paragraph in _PARAGRAPHS]
    wrap.initial_indent = wrap.subsequent_indent = " " * 6
    for topic, settings in groupby(SETTINGS.values(), lambda setting: setting.topic):
        parts.append("\n".join([f"{topic}:", *(_entry(setting, wrap) for setting in settings)]))
    return "\n\n".join(parts)


def _entry(setting: Setting, wrap: textwrap.TextWrapper) -> str:
    names = f"  {setting.flag or '(no flag)':<{_FLAG_COLUMNS}}  {setting.env}"
    default = setting.default.replace(",", f",{_MAY_BREAK}")  # a long list is parted after commas
    meaning = wrap.fill(f"{setting.meaning} Default:{_NO_BREAK}{default}")
    return f"{names}\n{meaning.replace(_NO_BREAK, ' ').replace(_MAY_BREAK, '')}"
