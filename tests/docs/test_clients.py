"""docs/clients: what a client author is told is all that a client can meet."""

import re

from obscura.errors import ObscuraError
from obscura.gateway import close_codes
from tests.support.pages import rows


def test_every_close_code_of_the_gateway_is_listed() -> None:
    """A client author finds what to do for each code that the server sends."""
    sent = {str(reason.code) for reason in vars(close_codes).values() if isinstance(reason, close_codes.CloseReason)}
    cells = rows("docs/clients/gateway.md", "How a connection ends, and what to do")
    listed = ", ".join(row[0] for row in cells)
    assert len(sent) >= 5
    assert sent | {"1009"} <= set(listed.split(", "))
    assert "1000" not in listed


def all_errors(kind: type[ObscuraError]) -> list[type[ObscuraError]]:
    return [kind, *(below for one in kind.__subclasses__() for below in all_errors(one))]


def test_every_status_of_an_error_is_listed() -> None:
    """A client author finds what to do for each status that the server answers."""
    statuses = {str(status) for kind in all_errors(ObscuraError) if (status := getattr(kind, "status", None))}
    listed = {status for row in rows("docs/clients/errors.md", "Errors") for status in re.findall(r"\d{3}", row[0])}
    assert len(statuses) >= 8
    assert statuses <= listed
