"""obscura/gateway/formats/frames_0_3.py: what clients parse, and what their acks name."""

import uuid

import pytest

from obscura.gateway.formats.frames_0_3 import Frames03
from obscura.model.message_ids import EntryId
from obscura.settings.model import SETTINGS
from obscura.v1.obscura_pb2 import AckMessage, EncryptedMessage, Envelope, PreKeyStatus, WebSocketFrame
from tests.gateway.test_rfc6455 import unframed

pytestmark = pytest.mark.libraries

ALICE = uuid.UUID("7d444840-9dc0-41d1-b245-5ffdce74fad2")
BOB = uuid.UUID("a3bb189e-8bf9-4888-9912-ace4e6543002")
SENDER = str(ALICE).encode()

# A length takes more bytes from here on: varints grow at 2^7, 2^14 and 2^21, WebSocket's own at 126 and 2^16.
BOUNDARIES = [126, 2**7, 2**14, 2**16, 2**21]
ENVELOPE_BYTES = 120  # around a message, at the most


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_an_envelope_of_any_size_is_what_protobuf_would_write(boundary: int) -> None:
    """Byte for byte, in WebSocket's shortest form, with the message, the envelope and the frame around a boundary."""
    frames = Frames03(BOB)
    message_id = frames.message_id(EntryId(1_790_000_000_000, 3))
    id_text = message_id.decode()
    for size in range(max(1, boundary - ENVELOPE_BYTES), boundary + 2):
        message = EncryptedMessage(type=2, content=bytes(size))
        frame = frames.envelope(message_id, SENDER, 1_790_000_000_000, message.SerializeToString())
        expected = Envelope(id=id_text, source_user_id=str(ALICE), timestamp=1_790_000_000_000, message=message)
        assert unframed(frame) == (2, WebSocketFrame(envelope=expected).SerializeToString()), size


@pytest.mark.parametrize("timestamp_ms", [1_790_000_000_000, 2**42 - 1], ids=["2026", "2109"])
def test_the_largest_message_of_the_default_limit_makes_a_frame_of_one_mebibyte(timestamp_ms: int) -> None:
    """It is what common WebSocket libraries take of one message, and not a byte more."""
    body = bytes(int(SETTINGS["max_message_bytes"].default))
    _, payload = unframed(Frames03.envelope(b"x" * 36, SENDER, timestamp_ms, body))
    assert len(payload) == 1_048_576


@pytest.mark.parametrize("timestamp_ms", [1, 127, 128, 2**14, 2**35, 2**48 - 1])
def test_an_envelope_carries_any_time(timestamp_ms: int) -> None:
    """The timestamp is a varint of up to 48 bits."""
    _, payload = unframed(Frames03.envelope(b"x" * 36, SENDER, timestamp_ms, b""))
    assert WebSocketFrame.FromString(payload).envelope.timestamp == timestamp_ms


def test_an_envelope_leaves_the_message_untouched() -> None:
    """Fields and enum numbers that this version does not know are in the frame as they came."""
    body = b"\x08\x63" + b"\x12\x02hi" + b"\x1a\x03new" + b"\xa0\x06\x01"
    _, payload = unframed(Frames03.envelope(b"x" * 36, SENDER, 1, body))
    assert payload.endswith(b"\x22" + bytes([len(body)]) + body)
    parsed = WebSocketFrame.FromString(payload).envelope.message
    assert (parsed.type, parsed.content) == (99, b"hi")
    assert parsed.SerializeToString(deterministic=True) == body


@pytest.mark.parametrize(("count", "threshold"), [(0, 20), (19, 20), (0, 2**31 - 1), (0, 0)])
def test_a_pre_key_status_says_how_many_are_left(count: int, threshold: int) -> None:
    """Clients learn how many one-time pre-keys are left, and how many should be."""
    opcode, payload = unframed(Frames03.pre_key_status(count, threshold))
    status = PreKeyStatus(one_time_pre_key_count=count, min_threshold=threshold)
    assert (opcode, WebSocketFrame.FromString(payload)) == (2, WebSocketFrame(pre_key_status=status))


def test_an_ack_in_either_case_names_a_message() -> None:
    """Clients may write a UUID in capitals; the id is given as the server wrote it."""
    frames, entry = Frames03(BOB), EntryId(1_790_000_000_000, 3)
    message_id = frames.message_id(entry)
    for spelling in (message_id.decode(), message_id.decode().upper()):
        (acked,) = frames.acked(WebSocketFrame(ack=AckMessage(message_id=spelling)).SerializeToString())
        assert (acked, frames.entry_of(acked)) == (message_id, entry)


def test_several_envelopes_are_frames_of_their_own() -> None:
    """One behind the other: this API has no batches."""
    envelopes = [(b"%036d" % number, SENDER, number, b"body %d" % number) for number in range(3)]
    assert Frames03.envelopes(envelopes) == b"".join(Frames03.envelope(*envelope) for envelope in envelopes)
    assert Frames03.envelopes([]) == b""


def test_an_ack_frame_gives_its_message_id() -> None:
    """The id is handed on as it came, to be decoded by the inbox it is for."""
    assert Frames03.acked(WebSocketFrame(ack=AckMessage(message_id="an id")).SerializeToString()) == (b"an id",)


@pytest.mark.parametrize(
    ("ack", "ids"),
    [
        (AckMessage(message_ids=["one"]), (b"one",)),
        (AckMessage(message_ids=["A" * 36]), (b"a" * 36,)),
        (AckMessage(message_ids=["one", "", "three"]), (b"one", b"", b"three")),
        (AckMessage(message_id="first", message_ids=["second", "third"]), (b"first", b"second", b"third")),
        (AckMessage(), (b"",)),
    ],
)
def test_an_ack_frame_gives_all_its_message_ids(ack: AckMessage, ids: tuple[bytes, ...]) -> None:
    """Clients from 0.3.10 on ack by list, with or without the field of one id."""
    assert Frames03.acked(WebSocketFrame(ack=ack).SerializeToString()) == ids


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"\xff",
        b"\x5a\x05\x0a",
        b"\x5a\x03\x0a\x01\xff",  # an ack whose id is not UTF-8
        WebSocketFrame(envelope=Envelope(id="an id")).SerializeToString(),
        WebSocketFrame(pre_key_status=PreKeyStatus()).SerializeToString(),
        b"\x9b\x06" * 200,  # groups within groups
    ],
)
def test_a_frame_that_is_no_ack_gives_nothing(frame: bytes) -> None:
    """Garbage, other payloads and truncated acks are passed over."""
    assert Frames03.acked(frame) == ()
