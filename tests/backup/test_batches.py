from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pgvault.backup.batches import PIECES_MAX, Piece, cut, expected_bytes, make_batches
from pgvault.postgres.datadir import Entry, EntryKind
from tests.backup.samples import directory_entry

LIMIT = 1 << 20


def entry(size: int, *, is_relation: bool = True, path: bytes = b"base/5/16384") -> Entry:
    return Entry(path, b"/data/" + path, EntryKind.FILE, size, 0o600, 0, 0, 0, is_relation)


@pytest.mark.parametrize("is_relation", [True, False])
@pytest.mark.parametrize("size", [0, 1, 8191, 8192, 8193, LIMIT - 1, LIMIT, LIMIT + 1, 3 * LIMIT, 3 * LIMIT + 5])
def test_pieces_cover_a_file_exactly(size: int, is_relation: bool) -> None:
    """From 0 to the end without a gap, cut at multiples of the limit; one first piece and one last."""
    pieces = list(cut(entry(size, is_relation=is_relation), limit=LIMIT))

    assert [piece.offset for piece in pieces] == list(range(0, max(size, 1), LIMIT))
    assert sum(map(expected_bytes, pieces)) == size
    assert [piece.is_first for piece in pieces] == [True, *[False] * (len(pieces) - 1)]
    assert [piece.is_last for piece in pieces] == [*[False] * (len(pieces) - 1), True]
    assert all(expected_bytes(piece) <= LIMIT for piece in pieces)


def test_a_relation_is_read_as_long_as_it_was_listed_and_anything_else_to_its_end() -> None:
    """What is added to a relation is in the WAL; what is added to a configuration file is nowhere else (pitfall 8)."""
    assert [piece.length for piece in cut(entry(LIMIT + 1), limit=LIMIT)] == [LIMIT, 1]
    assert [piece.length for piece in cut(entry(LIMIT + 1, is_relation=False), limit=LIMIT)] == [LIMIT, None]


def test_directories_and_links_are_pieces_without_bytes() -> None:
    """They take no room in a batch, whatever size is said of them."""
    (piece,) = cut(directory_entry(b"pg_wal"))

    assert expected_bytes(piece) == 0
    assert piece.is_first
    assert piece.is_last


def test_a_piece_with_content_is_as_long_as_that() -> None:
    """pg_control was read already."""
    assert expected_bytes(Piece(entry(8192), content=b"abc")) == 3


@given(st.lists(st.integers(0, 5000), max_size=60), st.integers(1, 4000))
@settings(deadline=None)
def test_batches_keep_order_and_limit(sizes: list[int], limit: int) -> None:
    """Every piece is in exactly one batch, in path order; none holds more than the limit; numbers have no gap."""
    pieces = [
        piece
        for number, size in enumerate(sizes)
        for piece in cut(entry(size, path=b"base/5/%d" % number), limit=limit)
    ]

    batches = list(make_batches(pieces, limit=limit, first=7))

    assert [piece for batch in batches for piece in batch.pieces] == pieces
    assert [batch.number for batch in batches] == list(range(7, 7 + len(batches)))
    assert all(sum(map(expected_bytes, batch.pieces)) <= limit for batch in batches)
    assert all(batch.pieces for batch in batches)


def test_neighbouring_batches_could_not_be_one() -> None:
    """A batch ends only where the next piece has no room: packs are not needlessly small."""
    pieces = [piece for number in range(50) for piece in cut(entry(300, path=b"base/5/%d" % number), limit=LIMIT)]

    batches = list(make_batches(pieces, limit=1000))

    assert [len(batch.pieces) for batch in batches] == [3] * 16 + [2]


def test_empty_files_do_not_make_one_endless_batch() -> None:
    """A million empty tables hold no bytes, yet their records take memory: the number of pieces is bounded too."""
    pieces = (Piece(entry(0)) for _ in range(2 * PIECES_MAX + 1))

    assert [len(batch.pieces) for batch in make_batches(pieces)] == [PIECES_MAX, PIECES_MAX, 1]


def test_listing_goes_no_further_than_the_batches_asked_for(tmp_path: Path) -> None:
    """Neither the list of files nor their bytes are held whole."""
    listed: list[int] = []

    def listing() -> list[Piece]:
        listed.append(1)
        return list(cut(entry(LIMIT), limit=LIMIT))

    batches = make_batches((piece for _ in range(100) for piece in listing()), limit=LIMIT)
    next(batches)

    assert len(listed) == 2
