"""How `list` tells of backups that are marked as to be removed, and of holds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from pgvault.cli import render
from pgvault.cli.holds import hold_document, hold_lines
from pgvault.cli.opening import OpenedCluster
from pgvault.errors import FormatUnsupported, ObjectCorrupt, ObjectMissing, PgvaultError, WrongKey
from pgvault.expire.policy import Policy
from pgvault.instants import SystemClock, iso
from pgvault.repository.catalog import Catalog
from pgvault.repository.holds import Hold, read_holds
from pgvault.repository.tombstones import State, Tombstone, read_tombstones

UNREADABLE = (FormatUnsupported, ObjectCorrupt, ObjectMissing, WrongKey)


@dataclass(frozen=True, slots=True)
class Standing:
    """What is to be removed, and what must stay."""

    tombstones: dict[str, Tombstone] = field(default_factory=dict)  # that stand, by label
    holds: tuple[Hold, ...] = ()
    grace: timedelta = timedelta()

    def lines(self) -> list[str]:
        """For people."""
        lines = []
        for label, each in sorted(self.tombstones.items()):
            why = f"{render.printable(each.order.why)} ({render.printable(each.order.by)})"
            if each.state is State.BEGUN:
                lines.append(f"being removed: {label}: {why}")
            else:
                lines.append(f"expiring: {label}, from {render.instant(each.at + self.grace)} on: {why}")
        return lines + hold_lines(self.holds, SystemClock().now())

    def to_json(self) -> dict[str, Any]:
        """For machines."""
        return {
            "expiring": [
                {
                    "label": label,
                    "state": each.state.value,
                    "deliberate": each.is_deliberate,
                    "marked_at": iso(each.at),
                    "removable_at": iso(each.at + self.grace),
                    "by": each.order.by,
                    "why": each.order.why,
                }
                for label, each in sorted(self.tombstones.items())
            ],
            "holds": [hold_document(each) for each in self.holds],
        }


def read_standing(
    opened: OpenedCluster, catalog: Catalog, *, passed_over: Callable[[str, PgvaultError], None]
) -> Standing:
    """Read the tombstones of what is listed, and the holds; `passed_over` is told of those that do not open."""
    labels = [*(root.label for root in catalog.roots), *catalog.unfinished]
    tombstones = read_tombstones(
        opened.repository,
        opened.name,
        labels,
        passed_over=lambda label, error: passed_over(f"tombstone of {label}", error),
    )
    holds: tuple[Hold, ...] = ()
    try:
        holds = read_holds(opened.repository, opened.name)
    except UNREADABLE as error:
        passed_over("holds", error)
    return Standing(tombstones, holds, Policy.of(opened.config, time_zone=opened.time_zone).grace)
