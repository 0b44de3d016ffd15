"""What was read from another copy than it should have been: kept object by object, told in few words."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from pgvault.errors import ObjectMissing, PgvaultError

NAMED_MAX = 10  # objects that a summary names


@dataclass(frozen=True, slots=True)
class Damage:
    """An object that one copy lacks or holds damaged, and that was had elsewhere."""

    copy: str
    path: str
    error: PgvaultError
    taken_from: str  # a copy's name; the same one where `is_older`
    is_older: bool = False  # an older version of the key was taken

    @property
    def is_missing(self) -> bool:
        """Whether the copy lacks the object altogether."""
        return isinstance(self.error, ObjectMissing)


@dataclass(frozen=True, slots=True)
class Healed:
    """All objects that were wrong in one copy and came from one other place."""

    copy: str
    taken_from: str
    is_older: bool
    missing: int  # objects that the copy lacks
    damaged: int  # objects that it holds damaged
    first: tuple[str, ...]  # paths, the first few

    @property
    def count(self) -> int:
        """How many objects came from there."""
        return self.missing + self.damaged

    def __str__(self) -> str:
        objects = "1 object" if self.count == 1 else f"{self.count} objects"
        place = f"older versions in copy {self.taken_from!r}" if self.is_older else f"copy {self.taken_from!r}"
        wrong = [f"{self.missing} missing"] * bool(self.missing) + [f"{self.damaged} damaged"] * bool(self.damaged)
        return f"{objects} came from {place}: {' and '.join(wrong)} in copy {self.copy!r}, first {self.first[0]!r}"

    def to_json(self) -> dict[str, Any]:
        """Return the form for machines."""
        return {
            "copy": self.copy,
            "taken_from": self.taken_from,
            "older_versions": self.is_older,
            "objects": self.count,
            "missing": self.missing,
            "damaged": self.damaged,
            "first": list(self.first),
        }


def sum_up(damages: Iterable[Damage]) -> tuple[Healed, ...]:
    """Group damages by the copy that has them and the place that helped out."""

    def place(damage: Damage) -> tuple[str, str, bool]:
        return damage.copy, damage.taken_from, damage.is_older

    grouped = groupby(sorted(damages, key=lambda each: (place(each), each.path)), key=place)
    return tuple(_healed(*key, list(group)) for key, group in grouped)


def _healed(copy: str, taken_from: str, is_older: bool, damages: Sequence[Damage]) -> Healed:
    missing = sum(each.is_missing for each in damages)
    first = tuple(each.path for each in damages[:NAMED_MAX])
    return Healed(copy, taken_from, is_older, missing, len(damages) - missing, first)
