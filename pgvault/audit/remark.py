"""What is found about audit chains, and how entries are called by number."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum


class Weight(StrEnum):
    """What a remark amounts to."""

    BROKEN = "broken"  # somebody changed something, or lost it
    WARNING = "warning"  # not proven, or to be looked at
    NOTE = "note"


@dataclass(frozen=True, slots=True)
class Remark:
    """Something that was found."""

    weight: Weight
    kind: str  # a word for machines
    text: str
    copy: str | None = None
    signer: str | None = None

    def __str__(self) -> str:
        return self.text if self.copy is None else f"copy {self.copy!r}: {self.text}"


def ranges(numbers: Iterable[int], *, most: int = 4) -> str:
    """Say which entries: entry 3; entries 3 to 7, 9."""
    return spans(_spans_of(numbers), most=most)


def spans(parts: Sequence[range], *, most: int = 4) -> str:
    """Say it of numbers that are given as ranges: one name far behind the others must not cost their memory."""
    if len(parts) == 1 and len(parts[0]) == 1:
        return f"entry {parts[0][0]}"
    said = [str(part[0]) if len(part) == 1 else f"{part[0]} to {part[-1]}" for part in parts]
    more = f" and {len(said) - most} more ranges" if len(said) > most else ""
    return f"entries {', '.join(said[:most])}{more}"


def holes(numbers: Iterable[int], *, begin: int) -> list[range]:
    """Return what is missing from `begin` to the last number."""
    found, expected = [], begin
    for number in sorted(number for number in numbers if number >= begin):
        if number > expected:
            found.append(range(expected, number))
        expected = number + 1
    return found


def _spans_of(numbers: Iterable[int]) -> list[range]:
    found: list[range] = []
    for number in sorted(numbers):
        if found and found[-1].stop == number:
            found[-1] = range(found[-1].start, number + 1)
        else:
            found.append(range(number, number + 1))
    return found
