from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pgvault.postgres.pages import BEST_PAGES, OFFSETS, PAGE_BYTES, check_pages

START_LSN = 0x16_B374D848
MASK = 0xFFFFFFFF
PAGE_OF_ONES_BLOCK_1 = 1176  # page_checksum() of pageinspect, PostgreSQL 15.20 and 18.6


def checksum_by_hand(page: bytes, block: int) -> int:
    """PostgreSQL's algorithm one word at a time, in plain integers."""
    words = list(struct.unpack("<2048I", page))
    words[2] &= 0xFFFF0000
    words += [0] * 64
    lanes = [int(offset) for offset in OFFSETS]
    for position, word in enumerate(words):
        mixed = lanes[position % 32] ^ word
        lanes[position % 32] = (mixed * 16777619 & MASK) ^ mixed >> 17
    folded = 0
    for lane in lanes:
        folded ^= lane
    return (folded ^ block) % 65535 + 1


def make_page(seed: int, block: int, *, lsn: int = START_LSN - 8) -> bytes:
    """A page of noise with a valid checksum."""
    page = bytearray(np.random.default_rng(seed).bytes(PAGE_BYTES))
    struct.pack_into("<II", page, 0, lsn >> 32, lsn & MASK)
    struct.pack_into("<H", page, 8, checksum_by_hand(bytes(page), block))
    return bytes(page)


def flip(page: bytes, bit: int) -> bytes:
    damaged = bytearray(page)
    damaged[bit // 8] ^= 1 << bit % 8
    return bytes(damaged)


def test_page_of_a_real_server_has_the_checksum_it_was_given() -> None:
    """The offsets are PostgreSQL's: an 8 KiB page of ones as page_checksum() of pageinspect sees it, frozen."""
    page = b"\x01" * PAGE_BYTES

    assert checksum_by_hand(page, 1) == PAGE_OF_ONES_BLOCK_1
    stored = page[:8] + struct.pack("<H", PAGE_OF_ONES_BLOCK_1) + page[10:]
    assert check_pages(stored, first_block=1, start_lsn=2**64 - 1) == []


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 2**32), st.integers(0, 2**32 - 2))
def test_intact_pages_are_not_reported(seed: int, first_block: int) -> None:
    """A page with the checksum computed word by word is fine at its own block number, and nowhere else."""
    pages = make_page(seed, first_block) + make_page(seed + 1, first_block + 1)

    assert check_pages(pages, first_block=first_block, start_lsn=START_LSN) == []
    elsewhere = (first_block + 7) % (2**32 - 2)
    assert check_pages(pages, first_block=elsewhere, start_lsn=START_LSN) == [elsewhere, elsewhere + 1]


def test_flipped_bit_is_reported_by_block_number() -> None:
    """One changed bit in any part of the page, header and checksum included, names that block."""
    pages = [make_page(7, 100), make_page(8, 101), make_page(9, 102)]
    for bit in [*range(31, 64), *range(64, 80), *range(80, PAGE_BYTES * 8, 97)]:
        damaged = pages[0] + flip(pages[1], bit) + pages[2]
        assert check_pages(damaged, first_block=100, start_lsn=2**64 - 1) == [101], bit


def test_block_number_goes_on_behind_the_first_segment_file() -> None:
    """Page 3 of file 16385.1 is block 131075; checked as block 3 it would look corrupt."""
    page = make_page(1, 131072 + 3)

    assert check_pages(page, first_block=131072 + 3, start_lsn=START_LSN) == []
    assert check_pages(page, first_block=3, start_lsn=START_LSN) == [3]


def test_new_page_has_no_checksum() -> None:
    """A page of zeros is not reported; one with a single other byte is."""
    empty = bytes(PAGE_BYTES)

    assert check_pages(empty * 3, first_block=0, start_lsn=START_LSN) == []
    assert check_pages(empty + flip(empty, 65535) + empty, first_block=5, start_lsn=START_LSN) == [6]


@pytest.mark.parametrize(("lsn", "judged"), [(START_LSN - 1, True), (START_LSN, False), (2**64 - 1, False)])
def test_page_written_since_the_backup_began_is_not_judged(lsn: int, judged: bool) -> None:
    """Such a page may be torn, and is in the backup's WAL; the boundary itself counts as since."""
    torn = flip(make_page(3, 9, lsn=lsn), 40_000)

    assert check_pages(torn, first_block=9, start_lsn=START_LSN) == ([9] if judged else [])


def test_large_buffer_is_checked_to_its_end() -> None:
    """Bad pages on both sides of each pass's boundary are found, in order."""
    count = 2 * BEST_PAGES + 3
    pages = [make_page(0, block) for block in range(count)]
    bad = [0, BEST_PAGES - 1, BEST_PAGES, 2 * BEST_PAGES, count - 1]
    for block in bad:
        pages[block] = flip(pages[block], 9_999)

    assert check_pages(b"".join(pages), first_block=0, start_lsn=START_LSN) == bad


def test_any_buffer_is_taken_and_left_as_it_is() -> None:
    """Read-only or writable, at an odd address too; the content is not changed."""
    page = make_page(4, 2)
    shifted = memoryview(bytearray(b"x" + page))[1:]
    array = np.frombuffer(bytearray(page), dtype=np.uint8)
    for buffer in (page, bytearray(page), memoryview(page), shifted, array):
        assert check_pages(buffer, first_block=2, start_lsn=START_LSN) == []
        assert bytes(buffer) == page
    assert check_pages(b"", first_block=0, start_lsn=START_LSN) == []


@pytest.mark.parametrize("size", [1, 4, PAGE_BYTES - 1, PAGE_BYTES + 1, PAGE_BYTES * 2 + 512])
def test_part_of_a_page_is_refused(size: int) -> None:
    """A short last page is the caller's business: it must not be judged by half."""
    with pytest.raises(ValueError, match="whole number"):
        check_pages(bytes(size), first_block=0, start_lsn=START_LSN)
