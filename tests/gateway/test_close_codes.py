"""What close frames say."""

from obscura.gateway import close_codes
from obscura.gateway.close_codes import CloseReason
from obscura.observability.metrics.gateway import GATEWAY

REASONS = [reason for reason in vars(close_codes).values() if isinstance(reason, CloseReason)]


def test_each_reason_is_a_line_of_the_table() -> None:
    """With its code, in the module's own docstring."""
    rows = [
        line.split("  ", 1)
        for line in (close_codes.__doc__ or "").splitlines()
        if line[:4].isdigit() and line[4:6] == "  "
    ]
    assert {(int(code), rest.split("  ")[0].strip()) for code, rest in rows} == set(REASONS)


def test_each_reason_fits_a_close_frame() -> None:
    """125 bytes with the code (RFC 6455 section 5.5), and a code that is for applications or for servers."""
    for code, text in REASONS:
        assert len(text.encode()) <= 123
        assert code in (1001, 1011, 1013) or 4000 <= code <= 4999


def test_each_reason_is_one_that_operators_know() -> None:
    """The metric's page lists it."""
    (declared,) = [metric for metric in GATEWAY.metrics if metric.name == "obscura_gateway_sockets_closed_total"]
    assert {reason.text for reason in REASONS} <= set(declared.labels["reason"])
