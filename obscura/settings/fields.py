"""A setting is one field of the model: its type, its default, its meaning, and flags for all else.

From these follow the names of flags and variables, the help, docs/settings.md, config/example.env,
what is never quoted, and what is divided among workers.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, get_args, get_origin

from annotated_types import Ge, Gt, Le
from pydantic import Field
from pydantic.config import JsonDict
from pydantic.fields import FieldInfo

from obscura.settings.division import Division

ENV_PREFIX = "OBSCURA_"


def topic(title: str) -> Callable[..., Any]:
    """Return what makes the fields of one topic; settings of a topic stand together in help and documents."""

    def setting(
        default: object, meaning: str, *, secret: bool = False, flag: bool = True, divided: Division | None = None
    ) -> Any:
        """Make one field.

        Args:
            meaning: For operators, with the unit; one sentence or two.
            secret: It is never quoted or shown.
            flag: False keeps it out of the command line, which the process list shows.
            divided: It holds for the whole node, and each worker gets a part.
        """
        about: JsonDict = {"topic": title, "secret": secret, "has_flag": flag, "divided": divided}
        return Field(default, description=meaning, repr=not secret, json_schema_extra=about)

    return setting


@dataclass(frozen=True, slots=True)
class Setting:
    """What is known of one setting besides its value.

    Attributes:
        name: In the model and in a TOML file.
        env: Its variable in the environment.
        flag: None if no process list may show it.
        default: As it would be written; "unset" for none.
        expected: What it accepts, in words.
        divided: How workers share it; None: each has all of it.
    """

    name: str
    env: str
    flag: str | None
    default: str
    meaning: str
    expected: str
    topic: str
    secret: bool
    divided: Division | None


def describe(name: str, field: FieldInfo) -> Setting:
    """Describe a field that `topic` made."""
    about: Any = field.json_schema_extra
    default = "unset" if field.default in {None, ""} else str(field.default)
    return Setting(
        name=name,
        env=f"{ENV_PREFIX}{name.upper()}",
        flag=flag_name(name) if about["has_flag"] else None,
        default=default.lower() if isinstance(field.default, bool) else default,
        meaning=field.description or "",
        expected=_expected(field),
        topic=about["topic"],
        secret=about["secret"],
        divided=about["divided"],
    )


def flag_name(name: str) -> str:
    """Return the flag of a setting, whether or not it is offered."""
    return f"--{name.replace('_', '-')}"


def _expected(field: FieldInfo) -> str:
    """Say what a field accepts, from its type and bounds: "a whole number from 1 up to 65535"."""
    if get_origin(field.annotation) is Literal:
        return f"one of {', '.join(get_args(field.annotation))}"
    kinds: dict[object, str] = {int: "a whole number", float: "a number", bool: "true or false"}
    words = [kinds.get(field.annotation, "some text")]
    for bound in field.metadata:
        match bound:
            case Ge(ge=limit):
                words.append(f"from {limit}")
            case Gt(gt=limit):
                words.append(f"over {limit}")
            case Le(le=limit):
                words.append(f"up to {limit}")
    return " ".join(words)
