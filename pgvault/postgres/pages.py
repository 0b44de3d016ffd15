"""Check PostgreSQL's data page checksums, many pages at once.

    page = LSN[8] | checksum[2] | flags[2] | … 8192 bytes; as 64 rows of 32 little-endian words:

        lane[0..31]  = 32 fixed offsets
        each row     : lane = (lane ^ word) * 16777619 ^ ((lane ^ word) >> 17)      the checksum field counts as 0
        twice more   : the same with word 0
        checksum     = (xor of the lanes ^ block number) % 65535 + 1

A page of zeros is a new page and has no checksum. A page whose LSN lies at or behind the start of the backup may
be torn by a write that happened while we read; the WAL of the backup holds it whole, so it is not judged.
That is also the limit: damage that raises a page's LSN that far hides the page from this check.

numpy works best on 512 pages (4 MiB) per call: 3 to 4 GB/s on one core, 2 GB/s at 1 MiB (measured 2026-11-21).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    Buffer = bytes | bytearray | memoryview | npt.NDArray[np.uint8]
    Words = npt.NDArray[np.uint32]

PAGE_BYTES = 8192
ROWS = 64  # of 32 words
LANES = 32
BEST_PAGES = 512  # per pass: larger temporaries leave the second-level cache

# Facts of src/include/storage/checksum_impl.h.
PRIME = np.uint32(16777619)
SHIFT = np.uint32(17)
OFFSETS = np.array(
    [
        *(0x5B1F36E9, 0xB8525960, 0x02AB50AA, 0x1DE66D2A, 0x79FF467A, 0x9BB9F8A3, 0x217E7CD2, 0x83E13D2C),
        *(0xF8D4474F, 0xE39EB970, 0x42C6AE16, 0x993216FA, 0x7B093B5D, 0x98DAFF3C, 0xF718902A, 0x0B1C9CDB),
        *(0xE58F764B, 0x187636BC, 0x5D7B3BB1, 0xE73DE7DE, 0x92BEC979, 0xCCA6C0B2, 0x304A0979, 0x85AA43D4),
        *(0x783125BB, 0x6CA8EAA2, 0xE407EAC6, 0x4B5CFC3E, 0x9FBF8C76, 0x15CA20BE, 0xF2CA9FD3, 0x959BD756),
    ],
    dtype=np.uint32,
)
CHECKSUM_WORD = 2  # of row 0: checksum in its low half, flags in its high half
HIGH_HALF = np.uint32(0xFFFF0000)
LOW_HALF = np.uint32(0x0000FFFF)


def check_pages(buffer: Buffer, *, first_block: int, start_lsn: int) -> list[int]:
    """Return the numbers of the blocks in `buffer` whose checksum is wrong, in order.

    `buffer` holds whole 8 KiB pages and is not changed. `first_block` is the number of its first page within
    the relation, not within the file: segment number * relseg_size + page. Pages with an LSN at or behind
    `start_lsn` are not judged. The caller reads a reported page again before it believes it: the page may
    have been in the middle of being written. Raises ValueError when `buffer` is no whole number of pages.
    """
    octets = np.frombuffer(buffer, dtype=np.uint8)
    if octets.nbytes % PAGE_BYTES:
        raise ValueError(f"{octets.nbytes} bytes are not a whole number of pages")
    pages = octets.view("<u4").reshape(-1, ROWS, LANES)
    bad: list[int] = []
    for start in range(0, len(pages), BEST_PAGES):
        part = pages[start : start + BEST_PAGES]
        blocks = np.arange(len(part), dtype=np.uint32) + np.uint32((first_block + start) & 0xFFFFFFFF)
        stored = part[:, 0, CHECKSUM_WORD] & LOW_HALF
        for index in np.flatnonzero(page_checksums(part, blocks) != stored):
            page = part[index]
            lsn = (int(page[0, 0]) << 32) | int(page[0, 1])
            if lsn < start_lsn and page.any():
                bad.append(first_block + start + int(index))
    return bad


def page_checksums(pages: Words, blocks: Words) -> Words:
    """Compute the checksum that each page, shape (n, 64, 32), should have at its block number, shape (n,)."""
    lanes = pages[:, 0, :].copy()
    lanes[:, CHECKSUM_WORD] &= HIGH_HALF
    lanes ^= OFFSETS
    shifted = np.empty_like(lanes)
    _mix(lanes, shifted)
    for row in range(1, ROWS):
        lanes ^= pages[:, row, :]
        _mix(lanes, shifted)
    for _ in range(2):
        _mix(lanes, shifted)
    folded: Words = np.bitwise_xor.reduce(lanes, axis=1)
    return (folded ^ blocks) % np.uint32(65535) + np.uint32(1)


def _mix(lanes: Words, shifted: Words) -> None:
    """One FNV step in place; `shifted` is scratch of the same shape."""
    np.right_shift(lanes, SHIFT, out=shifted)
    np.multiply(lanes, PRIME, out=lanes)
    np.bitwise_xor(lanes, shifted, out=lanes)
