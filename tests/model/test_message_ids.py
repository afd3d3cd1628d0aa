"""A message's place in its inbox, and the UUID that clients know it by."""

import random
import uuid

import pytest

from obscura.model.message_ids import START, EntryId, MessageIds

ALICE = uuid.UUID("7d444840-9dc0-41d1-b245-5ffdce74fad2")
BOB = uuid.UUID("a3bb189e-8bf9-4888-9912-ace4e6543002")

# The places an inbox can have: milliseconds of 48 bits, a sequence number of 32.
ENTRIES = [
    EntryId(0, 0),
    EntryId(1, 1),
    EntryId(1_790_000_000_000, 0),
    EntryId(1_790_000_000_000, 2**16),
    EntryId(2**48 - 1, 2**32 - 1),
]


@pytest.mark.parametrize("entry", ENTRIES, ids=str)
def test_a_message_id_is_a_uuid_of_version_7(entry: EntryId) -> None:
    """RFC 9562 section 5.7: 48 bits of milliseconds, version 7, variant 10, canonical text."""
    text = MessageIds(ALICE).encode(entry).decode()
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
    value = uuid.UUID(ids.encode(EntryId(1_790_000_000_000, 7)).decode()).int
    for bit in range(32, 80):
        assert ids.decode(str(uuid.UUID(int=value ^ 1 << bit)).encode()) is None, bit


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
    assert MessageIds(ALICE).decode(text.encode()) is None


def test_random_uuids_decode_to_nothing() -> None:
    """An id cannot be guessed: version, variant and hash are 48 bits."""
    ids, dice = MessageIds(ALICE), random.Random(2)
    assert not any(ids.decode(str(uuid.UUID(int=dice.getrandbits(128))).encode()) for _ in range(2000))


def test_an_entry_id_reads_as_redis_writes_it() -> None:
    """And compares as a place in the queue, not as text."""
    assert EntryId.parse(b"12-3") == EntryId(12, 3)
    assert str(EntryId(12, 3)) == "12-3"
    assert START < EntryId(0, 1) < EntryId(9, 5) < EntryId(10, 0)
