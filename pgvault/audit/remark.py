"""What is found about audit chains, and how entries are called by number."""

from __future__ import annotations

from collections.abc import Iterable
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
    parts: list[list[int]] = []
    for number in sorted(numbers):
        if parts and parts[-1][-1] == number - 1:
            parts[-1][1:] = [number]
        else:
            parts.append([number])
    if len(parts) == 1 and len(parts[0]) == 1:
        return f"entry {parts[0][0]}"
    said = [" to ".join(map(str, part)) for part in parts]
    more = f" and {len(said) - most} more ranges" if len(said) > most else ""
    return f"entries {', '.join(said[:most])}{more}"
