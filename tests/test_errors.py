"""The drawing of the tree of errors is the tree of errors."""

import inspect
import re

import pytest

from obscura import errors

CLASSES = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if kind.__module__ == errors.__name__]


def drawn() -> list[tuple[int, str]]:
    """Each class in the docstring, with its indentation."""
    assert errors.__doc__
    found = []
    for line in errors.__doc__.split("\n\n")[1].splitlines():
        depth = len(line) - len(line.lstrip())
        names = line.strip().split(" · ") if " · " in line else [line.split()[0]]
        found += [(depth, name) for name in names]
    return found


def test_every_error_is_drawn_once() -> None:
    """No class is missing, and none is drawn that is gone."""
    assert sorted(name for _, name in drawn()) == sorted(kind.__name__ for kind in CLASSES)


def test_an_error_is_drawn_under_its_base() -> None:
    """The indentation says what is a kind of what."""
    above: list[tuple[int, str]] = []
    for depth, name in drawn():
        above = [(outer, other) for outer, other in above if outer < depth]
        base = getattr(errors, name).__bases__[0]
        assert base.__name__ == above[-1][1] if above else base is Exception, name
        above.append((depth, name))


@pytest.mark.parametrize("kind", [kind for kind in CLASSES if hasattr(kind, "status")])
def test_a_status_is_drawn_where_it_is_set(kind: type[errors.ObscuraError]) -> None:
    """Beside the class that says it, and nowhere else."""
    assert errors.__doc__
    shown = re.search(rf"^ *{kind.__name__} +(\d{{3}})\b", errors.__doc__, re.MULTILINE)
    if kind is errors.RequestError:  # of one that is raised as such
        assert shown is None
        return
    assert (int(shown[1]) if shown else None) == vars(kind).get("status", None if shown is None else kind.status)
