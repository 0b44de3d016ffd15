from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgvault.errors import FormatUnsupported, ObjectCorrupt
from pgvault.pipeline.header import HEADER, Kind, ObjectHeader, ObjectTrailer, frame_count, trailer_length

PLAIN = ObjectHeader(Kind.PACK, 1, bytes(range(32)), bytes(range(16)), bytes(range(32, 64)))

headers = st.builds(
    ObjectHeader,
    st.sampled_from(Kind),
    st.integers(1, 2**32 - 1),
    st.binary(min_size=32, max_size=32),
    st.binary(min_size=16, max_size=16),
    st.binary(min_size=32, max_size=32),
)


@given(headers)
def test_header_is_read_as_it_was_written(header: ObjectHeader) -> None:
    """128 bytes hold every header, and nothing of it gets lost."""
    raw = header.encode()

    assert len(raw) == HEADER.size == 128
    assert ObjectHeader.decode(raw, where="x") == header


def test_header_bytes_are_those_of_format_1() -> None:
    """Pinned: a change here makes every repository unreadable."""
    assert PLAIN.encode() == (
        b"PGVAULT\n"
        b"\x00\x01"  # format version
        b"\x05"  # kind: pack
        b"\x01"  # cipher: AES-256-GCM
        b"\x00\x00\x00\x01"  # key id
        + bytes(range(32))  # salt
        + bytes(range(16))  # nonce
        + bytes(range(32, 64))  # content HMAC
        + bytes(32)
    )


def test_kinds_keep_their_numbers() -> None:
    """Pinned: numbers of kinds are stored."""
    assert [(kind.name, kind.value) for kind in Kind] == [
        ("MANIFEST", 1),
        ("ABORTED", 2),
        ("PART", 3),
        ("MAP", 4),
        ("PACK", 5),
        ("WAL", 6),
        ("SYSTEM", 7),
        ("WATERMARK", 8),
        ("DRILL", 9),
        ("TAIL", 10),
        ("GAP", 11),
        ("TOMBSTONE", 12),
        ("VERIFIED", 13),
        ("HOLD", 14),
        ("INVENTORY", 15),
        ("DRILLED", 16),
        ("CHECKS", 17),
        ("AUDIT", 18),
        ("NOTICE", 19),
    ]


@pytest.mark.parametrize(
    ("at", "value", "error"),
    [
        (0, b"p", ObjectCorrupt),  # magic
        (7, b"\r", ObjectCorrupt),  # a transfer in text mode
        (8, b"\x00\x02", FormatUnsupported),
        (8, b"\x00\x00", FormatUnsupported),
        (10, b"\x00", ObjectCorrupt),  # kinds
        (10, b"\x7f", ObjectCorrupt),
        (11, b"\x02", FormatUnsupported),  # cipher
        (96, b"\x01", ObjectCorrupt),  # reserved
        (127, b"\x01", ObjectCorrupt),
    ],
)
def test_foreign_header_is_refused(at: int, value: bytes, error: type[Exception]) -> None:
    """What format 1 does not allow is refused, and what a newer format may have says so."""
    raw = bytearray(PLAIN.encode())
    raw[at : at + len(value)] = value

    with pytest.raises(error):
        ObjectHeader.decode(bytes(raw), where="x")


@pytest.mark.parametrize("length", [0, 1, 127])
def test_cut_header_is_refused(length: int) -> None:
    """Fewer than 128 bytes are no header."""
    with pytest.raises(ObjectCorrupt):
        ObjectHeader.decode(PLAIN.encode()[:length], where="x")


@given(st.lists(st.integers(28, 200), min_size=1, max_size=50), st.integers(0, 2**40))
def test_trailer_is_read_as_it_was_written(lengths: list[int], plain_length: int) -> None:
    """Behind frames of any lengths the trailer is found and checked from the end."""
    front = PLAIN.encode() + bytes(sum(lengths))
    trailer = ObjectTrailer(tuple(lengths), plain_length, len(front) + trailer_length(len(lengths)))

    body = front + trailer.encode()
    body += hashlib.sha256(body).digest()

    assert len(body) == trailer.stored_length
    assert ObjectTrailer.decode(body, where="x") == trailer
    assert frame_count(body) == len(lengths)


def test_trailer_bytes_are_those_of_format_1() -> None:
    """Pinned: a change here makes every repository unreadable."""
    assert ObjectTrailer((29, 300), 270, 525).encode() == (
        b"\x00\x00\x00\x1d\x00\x00\x01\x2c"  # stored lengths
        b"\x00\x00\x00\x02"  # frames
        b"\x00\x00\x00\x00\x00\x00\x01\x0e"  # plain length
        b"\x00\x00\x00\x00\x00\x00\x02\x0d"  # stored length
        b"PGVEND1\n"
    )


@pytest.mark.parametrize("lengths", [(), (100, 101), (100, 99), (2**32 - 1, 201)])
def test_trailer_that_does_not_fit_its_frames_is_refused(lengths: tuple[int, ...]) -> None:
    """A correct SHA-256 does not help a trailer whose index does not cover exactly the frames that are there."""
    front = PLAIN.encode() + bytes(200)
    body = front + ObjectTrailer(lengths, 0, len(front) + trailer_length(len(lengths))).encode()
    body += hashlib.sha256(body).digest()

    with pytest.raises(ObjectCorrupt):
        ObjectTrailer.decode(body, where="x")
