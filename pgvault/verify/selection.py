"""What of a cluster is read back: everything, a random share, or what is new.

    --sample 5%     of each backup's packs, maps and WAL, and of the archived segments: so many drawn by chance, at
                    least one of each. Roots, refs and file lists always. Drawn anew each time, so that in the long run
                    everything is; the seed is printed, and with --seed the same are drawn again
    --since T       backups that began at T or later, or were never read back whole from that copy; WAL pushed since T

A share proves that most is probably there; it never gives a backup the mark that retention counts.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from pgvault.errors import UsageError
from pgvault.repository.catalog import Root

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Selection:
    """What to read."""

    share: float | None = None  # of packs, maps and segments, above 0 and at most 1; None: all
    seed: int = 0  # of the drawing
    since: datetime | None = None  # None: whenever
    marked: frozenset[str] = frozenset()  # labels that were read back whole before, which `since` may leave out
    labels: frozenset[str] | None = None  # nothing of other backups; None: all
    takes_wal: bool = True  # whether what is archived between backups is read, too

    def takes(self, root: Root) -> bool:
        """Tell whether a backup is read at all."""
        if self.labels is not None:
            return root.label in self.labels
        return self.since is None or root.started_at >= self.since or root.label not in self.marked

    def draw(self, what: str, items: Sequence[T]) -> list[T]:
        """Return the share of `items`, in their order; `what` names them, so that each drawing is its own."""
        if self.share is None:
            return list(items)
        count = math.ceil(len(items) * self.share)
        chosen = random.Random(f"{self.seed} {what}").sample(range(len(items)), count)
        return [items[number] for number in sorted(chosen)]


def parse_share(text: str) -> float:
    """Read `5%` or `0.05`. Raises UsageError unless it is above 0 and at most everything."""
    try:
        share = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        share = math.nan
    if not 0 < share <= 1:
        raise UsageError(f"--sample {text!r} is no share", hint="Say --sample 5% or --sample 0.05.")
    return share
