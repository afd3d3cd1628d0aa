"""Fields of a JSON object, read by name and type; every error names the field."""

from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import orjson

from obscura.errors import BadRequest

T = TypeVar("T")


class Fields:
    """The fields of one object of a body. Null stands for a field that is not there.

    Args:
        where: What comes before a field's name in an error: "signedPreKey." of the object of that name.
    """

    __slots__ = ("_values", "_where")

    def __init__(self, values: dict[str, Any], where: str = "") -> None:
        self._values = values
        self._where = where

    def has(self, name: str) -> bool:
        """Whether an optional field is there."""
        return self._values.get(name) is not None

    def string(self, name: str) -> str:
        """Return a text. Raises BadRequest."""
        value = self._required(name)
        if not isinstance(value, str):
            raise BadRequest(f"{self._where}{name} is not a string")
        return value

    def integer(self, name: str, maximum: int) -> int:
        """Return a whole number from 0 to ``maximum``. Raises BadRequest."""
        value = self._required(name)
        if type(value) is not int:  # a bool is an int to isinstance
            raise BadRequest(f"{self._where}{name} is not an integer")
        if not 0 <= value <= maximum:
            raise BadRequest(f"{self._where}{name} is not between 0 and {maximum}")
        return value

    def decoded(self, name: str, decode: Callable[[str], T]) -> T:
        """Return what ``decode`` makes of a text; its ValueError is told to the client. Raises BadRequest."""
        text = self.string(name)
        try:
            return decode(text)
        except ValueError as error:
            raise BadRequest(f"{self._where}{name}: {error}") from error

    def object(self, name: str) -> "Fields":
        """Return the fields of an object in this one. Raises BadRequest."""
        return _fields_of(self._required(name), f"{self._where}{name}")

    def objects(self, name: str) -> "Iterator[Fields]":
        """Yield the fields of each object in an array. Raises BadRequest."""
        values = self._required(name)
        if not isinstance(values, list):
            raise BadRequest(f"{self._where}{name} is not an array")
        for index, value in enumerate(values):
            yield _fields_of(value, f"{self._where}{name}[{index}]")

    def _required(self, name: str) -> Any:
        value = self._values.get(name)
        if value is None:
            raise BadRequest(f"{self._where}{name} is missing")
        return value


def parse_object(body: bytes) -> Fields:
    """Read a body that is one JSON object.

    Raises:
        BadRequest: It is none.
    """
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise BadRequest("The body is not valid JSON") from error
    if not isinstance(value, dict):
        raise BadRequest("The body is not a JSON object")
    return Fields(value)


def _fields_of(value: Any, name: str) -> Fields:
    if not isinstance(value, dict):
        raise BadRequest(f"{name} is not an object")
    return Fields(value, f"{name}.")
