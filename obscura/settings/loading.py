"""The values of the settings: from flags, the environment and a file, all checked before one is used.

A value comes from a flag, else from ``OBSCURA_*`` in the environment, else from the TOML file named
by ``--config``, else it is the default. What is wrong is named all at once, without quoting a secret.
"""

import argparse
import difflib
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import get_origin

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from obscura.errors import SettingsError
from obscura.settings.fields import ENV_PREFIX, flag_name
from obscura.settings.model import SETTINGS, Settings

_SHOWN_CHARS = 60  # of a wrong value


@dataclass(frozen=True, slots=True)
class _Entry:
    """One value from outside; nothing about it has been checked, not even the name."""

    name: str
    value: object
    written: str  # the name as the operator wrote it: "--port", "OBSCURA_PORT", "port in relay.toml"


def load(argv: Sequence[str], environ: Mapping[str, str]) -> Settings:
    """Read the flags after ``obscura serve``, the environment and the file that ``--config`` names.

    In the environment an empty value is no value, except that of a list: no entries.

    Raises:
        SettingsError: Names every wrong and unknown setting the way it was written,
            says what is expected, and holds no secret.
    """
    flags, file = _from_flags(argv)
    entries = [*(_from_file(file) if file else []), *_from_environ(environ), *flags]
    name_errors = [_name_error(entry) for entry in entries]
    wrong = [error for error in name_errors if error]
    given = {entry.name: entry for entry, error in zip(entries, name_errors, strict=True) if not error}
    try:
        settings = Settings.model_validate({name: entry.value for name, entry in given.items()})
    except ValidationError as invalid:
        wrong += [_error_text(details, given) for details in invalid.errors()]
    if wrong:
        raise SettingsError("\n".join(dict.fromkeys(wrong)))
    return settings


def _from_flags(argv: Sequence[str]) -> tuple[list[_Entry], Path | None]:
    """Return what the flags say, and the file that ``--config`` names."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, argument_default=argparse.SUPPRESS)
    parser.add_argument("--config", nargs="?", const="", default=None)
    for name, field in Settings.model_fields.items():
        # A flag without a value is right for a switch; for the others the empty text is refused later.
        parser.add_argument(flag_name(name), dest=name, nargs="?", const="true" if field.annotation is bool else "")
    known, others = parser.parse_known_args(argv)
    values = vars(known)
    file = values.pop("config")
    entries = [_Entry(name, value, flag_name(name)) for name, value in values.items()]
    return entries + _unknown_arguments(others), None if file is None else Path(file).absolute()


def _unknown_arguments(words: Sequence[str]) -> list[_Entry]:
    """Return the words that belong to no flag we know, cut so that none shows a secret."""
    unknown = []
    for before, word in pairwise(["", *words]):
        if word.startswith("--"):
            unknown.append(word.partition("=")[0])
        elif word.startswith("-"):
            unknown.append(word[:2])
        elif not before.startswith("-"):  # else it is the value of an unknown flag
            unknown.append(word)
    return [_Entry(word, None, word) for word in unknown]


def _from_environ(environ: Mapping[str, str]) -> list[_Entry]:
    named = [(key.removeprefix(ENV_PREFIX).lower(), key) for key in environ if key.startswith(ENV_PREFIX)]
    return [_Entry(name, environ[key], key) for name, key in named if environ[key] or _is_list(name)]


def _is_list(name: str) -> bool:
    return name in SETTINGS and get_origin(Settings.model_fields[name].annotation) is tuple


def _from_file(file: Path) -> list[_Entry]:
    try:
        values = tomllib.loads(file.read_text("utf-8"))
    except OSError as error:
        raise SettingsError(f"--config {file} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise SettingsError(f"--config {file} is not TOML: {error}") from None
    return [_Entry(name, _as_text(value), f"{name} in {file}") for name, value in values.items()]


def _as_text(value: object) -> object:
    """Make a TOML number or boolean what the environment would hold, so that both are checked alike."""
    return str(value) if isinstance(value, int | float) else value


def _name_error(entry: _Entry) -> str | None:
    """Say why an entry cannot be a setting at all; None if it can."""
    setting = SETTINGS.get(entry.name)
    if setting is None:
        like = entry.name.lower().removeprefix(ENV_PREFIX.lower()).strip("-").replace("-", "_")
        near = [SETTINGS[name] for name in difflib.get_close_matches(like, SETTINGS, n=1)]
        hint = "".join(f"; did you mean {one.name} ({one.flag or 'no flag'}, {one.env})?" for one in near)
        return f"{entry.written} is not a setting{hint}"
    if setting.flag is None and entry.written.startswith("--"):
        return f"{entry.written} is not a flag, for the process list would show it: use {setting.env} or the file"
    return None


def _error_text(details: ErrorDetails, given: Mapping[str, _Entry]) -> str:
    """Say what is wrong with a value, and quote it unless it is a secret."""
    check = details.get("ctx", {}).get("error")
    if not details["loc"]:  # values that do not go together
        return str(check)
    name = str(details["loc"][0])
    written = given[name].written
    if check:
        return f"{written} {check}"
    shown = "" if SETTINGS[name].secret else f", not {str(details['input'])[:_SHOWN_CHARS]!r}"
    return f"{written} must be {SETTINGS[name].expected}{shown}"
