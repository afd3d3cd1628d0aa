"""obscura/gateway/formats/frames_0_3.py: what clients parse, and the ids they ack with."""

import random
import struct
import uuid

import pytest

from obscura.gateway.formats import frames_0_3 as frames
from obscura.gateway.formats import rfc6455
from obscura.gateway.formats.encrypted_message import has_content
from obscura.model.message_ids import START, EntryId, MessageIds
from obscura.v1.obscura_pb2 import AckMessage, EncryptedMessage, Envelope, PreKeyStatus, WebSocketFrame

ALICE = uuid.UUID("7d444840-9dc0-41d1-b245-5ffdce74fad2")
BOB = uuid.UUID("a3bb189e-8bf9-4888-9912-ace4e6543002")
SENDER = str(ALICE).encode()

# The places an inbox can have: milliseconds of 48 bits, a sequence number of 32.
ENTRIES = [
    EntryId(0, 0),
    EntryId(1, 1),
    EntryId(1_790_000_000_000, 0),
    EntryId(1_790_000_000_000, 2**16),
    EntryId(2**48 - 1, 2**32 - 1),
]

# A length takes more bytes from here on: varints grow at 2^7, 2^14 and 2^21, WebSocket's own at 126 and 2^16.
BOUNDARIES = [126, 2**7, 2**14, 2**16, 2**21]
ENVELOPE_BYTES = 120  # around a message, at the most


def unframed(data: bytes) -> tuple[int, bytes]:
    """Opcode and payload of one unmasked WebSocket frame (RFC 6455 section 5.2) with nothing behind it."""
    first, second = data[0], data[1]
    assert first & 0xF0 == 0x80, "not final, or a reserved bit"
    if second < 126:
        size, start = second, 2
    elif second == 126:
        (size,), start = struct.unpack_from("!H", data, 2), 4
        assert size > 125, "not the shortest form"
    else:
        assert second == 127, "masked"
        (size,), start = struct.unpack_from("!Q", data, 2), 10
        assert size > 0xFFFF, "not the shortest form"
    assert len(data) == start + size
    return first & 0x0F, data[start:]


@pytest.mark.parametrize("entry", ENTRIES, ids=str)
def test_a_message_id_is_a_uuid_of_version_7(entry: EntryId) -> None:
    """RFC 9562 section 5.7: 48 bits of milliseconds, version 7, variant 10, canonical text."""
    text = MessageIds(ALICE).encode(entry)
    parsed = uuid.UUID(text)
    assert text == str(parsed)
    assert parsed.variant == uuid.RFC_4122
    assert parsed.version == 7
    assert parsed.int >> 80 == entry.ms
    assert parsed.int & 0xFFFFFFFF == entry.seq


@pytest.mark.parametrize("entry", ENTRIES, ids=str)
def test_a_message_id_leads_back_to_its_entry(entry: EntryId) -> None:
    """Decoding is the inverse of encoding, in either case."""
    ids = MessageIds(ALICE)
    assert ids.decode(ids.encode(entry)) == entry
    assert ids.decode(ids.encode(entry).upper()) == entry


def test_message_ids_sort_as_the_queue_does() -> None:
    """The text of a later message is greater, so clients may sort by it."""
    dice = random.Random(1)
    entries = [EntryId(dice.randrange(2**48), dice.randrange(2**32)) for _ in range(200)]
    ids = MessageIds(ALICE)
    assert sorted(map(ids.encode, entries)) == list(map(ids.encode, sorted(entries)))


def test_a_message_id_of_another_inbox_is_none_of_ours() -> None:
    """Somebody else's id decodes to nothing, whatever place it names."""
    for entry in ENTRIES:
        assert MessageIds(BOB).decode(MessageIds(ALICE).encode(entry)) is None


def test_a_message_id_with_any_fixed_bit_changed_is_none_of_ours() -> None:
    """The version, the variant and all 42 bits of the hash must be right."""
    ids = MessageIds(ALICE)
    value = uuid.UUID(ids.encode(EntryId(1_790_000_000_000, 7))).int
    for bit in range(32, 80):
        assert ids.decode(str(uuid.UUID(int=value ^ 1 << bit))) is None, bit


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0",
        "hello",
        str(uuid.UUID(int=0)),
        str(uuid.UUID(int=2**128 - 1)),
        "00000000-0000-7000-8000-00000000000",
        "00000000-0000-7000-8000-0000000000000",
        "{00000000-0000-7000-8000-000000000000}",
        "00000000000070008000000000000000",
        "00000000-0000-7000-8000-00000000000g",
        "00000000-0000-7000-8000-00000000000٣",
        " 0000000-0000-7000-8000-000000000000",
        "00000000-0000-7000-8000-000000000000\n",
        "-" * 36,
        "0" * 10_000,
    ],
)
def test_what_is_no_message_id_decodes_to_nothing(text: str) -> None:
    """Whatever a client sends as an id is an id of its inbox or ignored."""
    assert MessageIds(ALICE).decode(text) is None


def test_random_uuids_decode_to_nothing() -> None:
    """An id cannot be guessed: version, variant and hash are 48 bits."""
    ids, dice = MessageIds(ALICE), random.Random(2)
    assert not any(ids.decode(str(uuid.UUID(int=dice.getrandbits(128)))) for _ in range(2000))


def test_an_entry_id_reads_as_redis_writes_it() -> None:
    """And compares as a place in the queue, not as text."""
    assert EntryId.parse(b"12-3") == EntryId(12, 3)
    assert str(EntryId(12, 3)) == "12-3"
    assert START < EntryId(0, 1) < EntryId(9, 5) < EntryId(10, 0)


@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_an_envelope_of_any_size_is_what_protobuf_would_write(boundary: int) -> None:
    """Byte for byte, in WebSocket's shortest form, with the message, the envelope and the frame around a boundary."""
    message_id = MessageIds(BOB).encode(EntryId(1_790_000_000_000, 3))
    for size in range(max(1, boundary - ENVELOPE_BYTES), boundary + 2):
        message = EncryptedMessage(type=2, content=bytes(size))
        frame = frames.envelope(message_id, SENDER, 1_790_000_000_000, message.SerializeToString())
        expected = Envelope(id=message_id, source_user_id=str(ALICE), timestamp=1_790_000_000_000, message=message)
        assert unframed(frame) == (2, WebSocketFrame(envelope=expected).SerializeToString()), size


@pytest.mark.parametrize("timestamp_ms", [1, 127, 128, 2**14, 2**35, 2**48 - 1])
def test_an_envelope_carries_any_time(timestamp_ms: int) -> None:
    """The timestamp is a varint of up to 48 bits."""
    _, payload = unframed(frames.envelope("x" * 36, SENDER, timestamp_ms, b""))
    assert WebSocketFrame.FromString(payload).envelope.timestamp == timestamp_ms


def test_an_envelope_leaves_the_message_untouched() -> None:
    """Fields and enum numbers that this version does not know are in the frame as they came."""
    body = b"\x08\x63" + b"\x12\x02hi" + b"\x1a\x03new" + b"\xa0\x06\x01"
    _, payload = unframed(frames.envelope("x" * 36, SENDER, 1, body))
    assert payload.endswith(b"\x22" + bytes([len(body)]) + body)
    parsed = WebSocketFrame.FromString(payload).envelope.message
    assert (parsed.type, parsed.content) == (99, b"hi")
    assert parsed.SerializeToString(deterministic=True) == body


@pytest.mark.parametrize(("count", "threshold"), [(0, 20), (19, 20), (0, 2**31 - 1), (0, 0)])
def test_a_pre_key_status_says_how_many_are_left(count: int, threshold: int) -> None:
    """Clients learn how many one-time pre-keys are left, and how many should be."""
    opcode, payload = unframed(frames.pre_key_status(count, threshold))
    status = PreKeyStatus(one_time_pre_key_count=count, min_threshold=threshold)
    assert (opcode, WebSocketFrame.FromString(payload)) == (2, WebSocketFrame(pre_key_status=status))


def test_control_frames_carry_their_payload() -> None:
    """A ping, a pong with the ping's payload, a close with its code and reason."""
    assert unframed(rfc6455.control(rfc6455.PING_OPCODE)) == (9, b"")
    assert unframed(rfc6455.control(rfc6455.PONG_OPCODE, b"x" * 125)) == (10, b"x" * 125)
    assert unframed(rfc6455.close(4001, "device replaced")) == (8, b"\x0f\xa1device replaced")


def test_an_ack_frame_gives_its_message_id() -> None:
    """The id is handed on as it came, to be decoded by the inbox it is for."""
    assert frames.acked_message_id(WebSocketFrame(ack=AckMessage(message_id="an id")).SerializeToString()) == "an id"


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
    assert frames.acked_message_id(frame) is None


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
