"""PostgreSQL's hashtextextended, written from its description: so that FORMAT.md can be held to its own words."""

from __future__ import annotations

import struct
from collections.abc import Iterable

MASK = 0xFFFFFFFF
SEEDS = (0, 7046029254386353131)


def fingerprint(texts: Iterable[bytes]) -> str:
    """The two sums over the rows' texts."""
    rows = list(texts)
    return "".join(f"{sum(hash_extended(row, seed) for row in rows) % 2**64:016x}" for seed in SEEDS)


def hash_extended(content: bytes, seed: int) -> int:
    """hash_bytes_extended (src/common/hashfn.c), on a little-endian machine: 64 bits, unsigned."""
    a = b = c = (0x9E3779B9 + len(content) + 3923095) & MASK
    if seed:
        a, b, c = _mix((a + (seed >> 32)) & MASK, (b + (seed & MASK)) & MASK, c)
    whole = len(content) // 12 * 12
    for x, y, z in struct.iter_unpack("<III", content[:whole]):
        a, b, c = _mix((a + x) & MASK, (b + y) & MASK, (c + z) & MASK)
    rest = content[whole:]
    # The lowest byte of c is where the length went, so the last three bytes begin above it.
    x, y = struct.unpack("<II", rest[:8].ljust(8, b"\0"))
    z = int.from_bytes(rest[8:], "little") << 8
    b, c = _final((a + x) & MASK, (b + y) & MASK, (c + z) & MASK)
    return b << 32 | c


def _rot(value: int, count: int) -> int:
    return (value << count | value >> (32 - count)) & MASK


def _mix(a: int, b: int, c: int) -> tuple[int, int, int]:
    for one, two in ((4, 6), (16, 19)):
        a = (a - c & MASK) ^ _rot(c, one)
        c = c + b & MASK
        b = (b - a & MASK) ^ _rot(a, two)
        a = a + c & MASK
        c = (c - b & MASK) ^ _rot(b, 8 if one == 4 else 4)
        b = b + a & MASK
    return a, b, c


def _final(a: int, b: int, c: int) -> tuple[int, int]:
    c = (c ^ b) - _rot(b, 14) & MASK
    a = (a ^ c) - _rot(c, 11) & MASK
    b = (b ^ a) - _rot(a, 25) & MASK
    c = (c ^ b) - _rot(b, 16) & MASK
    a = (a ^ c) - _rot(c, 4) & MASK
    b = (b ^ a) - _rot(a, 14) & MASK
    c = (c ^ b) - _rot(b, 24) & MASK
    return b, c
