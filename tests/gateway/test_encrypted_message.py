"""obscura/gateway/formats/encrypted_message.py: what may be sent."""

import pytest

from obscura.gateway.formats.encrypted_message import has_content

pytestmark = pytest.mark.libraries


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"\x12\x01x", True),
        (b"\x08\x63\x12\x01x", True),
        (b"\x12\x00", False),
        (b"\x08\x01", False),
        (b"", False),
        (b"\x1a\x01x", False),  # an unknown field alone
        (b"\x12\x01x\x12\x00", False),  # of a field given twice the last counts
    ],
)
def test_content_is_looked_for_without_judging_the_rest(body: bytes, expected: bool) -> None:
    """Any type and any unknown field is fine, as long as there is content."""
    assert has_content(body) is expected


@pytest.mark.parametrize("body", [b"\xff", b"\x12\x05x", b"hello", b"\x12", b"\x13" * 200, b"\x00\x00"])
def test_what_is_no_encrypted_message_is_told_apart(body: bytes) -> None:
    """Truncated, not protobuf at all, nested beyond reason."""
    with pytest.raises(ValueError, match="not an EncryptedMessage"):
        has_content(body)
