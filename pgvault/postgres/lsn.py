"""A position in PostgreSQL's write-ahead log.

    16/B374D848        two hexadecimal halves of one 64-bit byte position, high / low, neither padded

PostgreSQL 19 pads the low half to eight digits; both forms are read, the short one is written.
An LSN says nothing about the timeline it lies on.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Self

from pgvault.errors import UsageError

MIB = 1024 * 1024

LSN_TEXT = re.compile(r"([0-9A-Fa-f]{1,8})/([0-9A-Fa-f]{1,8})", re.ASCII)


@dataclass(frozen=True, order=True, slots=True)
class Lsn:
    """A byte position in the WAL stream; 0 <= value < 2**64, printed as 16/B374D848."""

    value: int

    def __post_init__(self) -> None:
        if not 0 <= self.value < 2**64:
            raise UsageError(f"LSN {self.value} does not fit into 64 bits")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `high/low`, two hexadecimal halves. Raises UsageError otherwise."""
        match = LSN_TEXT.fullmatch(text)
        if match is None:
            raise UsageError(f"{text!r} is not an LSN", hint="An LSN looks like 16/B374D848.")
        return cls((int(match[1], 16) << 32) | int(match[2], 16))

    def __str__(self) -> str:
        return f"{self.value >> 32:X}/{self.value & 0xFFFFFFFF:X}"

    def __sub__(self, earlier: Lsn) -> int:
        """Bytes of WAL between two positions; negative when `earlier` is the later one."""
        return self.value - earlier.value

    def __add__(self, distance_bytes: int) -> Lsn:
        """The position `distance_bytes` further."""
        return Lsn(self.value + distance_bytes)
