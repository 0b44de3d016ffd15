"""Data classes in a drill: in which order they are proven, and how long each took until it was.

The RTO of a class runs until the last check that touches its tables has passed; what a check touches is what its plan
scans. A class whose tables no passed check touches is not proven, whatever else is green. Its RPO is that of the whole
restore: WAL and snapshots know no classes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

from pgvault.checks.result import NOT_BLOCKING, CheckResult, Verdict
from pgvault.config import CheckBase
from pgvault.drill.objectives import Judged, Measure
from pgvault.logical.select import RankedClass

NOT_PROVEN = "not proven: no check that passed touches its tables"
LAST = 1 << 31  # where no class says otherwise

# A name, perhaps behind that of its schema, each perhaps in double quotes.
NAME = r'(?:"(?:[^"]|"")+"|[^\W\d][\w$]*)'
QUALIFIED = re.compile(rf"(?:({NAME})\.)?({NAME})")

Check = TypeVar("Check", bound=CheckBase)


@dataclass(frozen=True, slots=True)
class ClassPromise:
    """A data class, and what was promised of it."""

    ranked: RankedClass
    rto: timedelta | None = None
    rpo: timedelta | None = None

    def holds(self, database: str | None, table: str) -> bool:
        """Tell whether `schema.table` of a database belongs to it."""
        match = QUALIFIED.fullmatch(table)
        schema, name = (_bare(match[1]), _bare(match[2])) if match else (None, table)
        return self.ranked.holds(database or "", schema, name or "")


@dataclass(frozen=True, slots=True)
class ClassLine:
    """What a drill says of one class."""

    promise: ClassPromise
    tables: tuple[str, ...]  # of it, that checks touched
    checks: tuple[str, ...]  # that touched them, in the order in which they ended
    rto: Measure
    rpo: Measure

    @property
    def name(self) -> str:
        """The class's name."""
        return self.promise.ranked.name

    @property
    def is_proven(self) -> bool:
        """Whether a check of its tables passed, and none that may stop a drill did not."""
        return self.rto.seconds is not None

    def judged(self) -> Iterator[Judged]:
        """Yield a judgement of what was promised of it."""
        for kind, promised, measure in (
            ("rto", self.promise.rto, self.rto),
            ("rpo", self.promise.rpo, self.rpo),
        ):
            if promised is not None:
                yield Judged(f"{kind} of class {self.name!r}", promised.total_seconds(), measure)

    def to_json(self) -> dict[str, Any]:
        """Return it for machines."""
        rto, rpo = self.promise.rto, self.promise.rpo
        return {
            "name": self.name,
            "priority": self.promise.ranked.priority,
            "proven": self.is_proven,
            "rto_seconds": None if self.rto.seconds is None else round(self.rto.seconds, 3),
            "promised_rto_seconds": None if rto is None else rto.total_seconds(),
            "rpo_seconds": None if self.rpo.seconds is None else round(self.rpo.seconds, 3),
            "promised_rpo_seconds": None if rpo is None else rpo.total_seconds(),
            "tables": list(self.tables),
            "checks": list(self.checks),
            "note": self.rto.note,
        }


def by_priority(promises: Iterable[ClassPromise]) -> list[ClassPromise]:
    """Return classes as they are restored."""
    return sorted(promises, key=lambda promise: (promise.ranked.priority, promise.ranked.name))


def judge_classes(
    promises: Iterable[ClassPromise], checks: Sequence[CheckResult], *, rpo: Measure
) -> tuple[ClassLine, ...]:
    """Return a line for each class, by priority."""
    return tuple(_line(promise, checks, rpo) for promise in by_priority(promises))


def _line(promise: ClassPromise, checks: Sequence[CheckResult], rpo: Measure) -> ClassLine:
    touching = [(check, own) for check in checks if (own := _own_tables(promise, check))]
    return ClassLine(
        promise=promise,
        tables=tuple(sorted({table for _, own in touching for table in own})),
        checks=tuple(dict.fromkeys(check.name for check, _ in touching)),
        rto=_rto([check for check, _ in touching]),
        rpo=rpo,
    )


def _own_tables(promise: ClassPromise, check: CheckResult) -> list[str]:
    return [table for table in check.tables if promise.holds(check.database, table)]


def _rto(touching: Sequence[CheckResult]) -> Measure:
    blocking = [check for check in touching if check.is_blocking]
    failed = next((check for check in blocking if check.verdict is Verdict.FAILED), None)
    if failed is not None:
        return Measure.unknown(f"check {failed.name!r} of its tables failed")
    passed = [check.ended_after for check in blocking if check.passed and check.ended_after is not None]
    return Measure(max(passed)) if passed else Measure.unknown(NOT_PROVEN)


def in_order(checks: Sequence[Check], promises: Sequence[ClassPromise], *, database: str) -> list[Check]:
    """Return checks as they are to be run: those that may stop a drill first, of these the most urgent class first.

    Which tables a check will touch only its plan tells; to order them, the names that stand in it are good enough.
    """

    def rank(check: Check) -> tuple[bool, int]:
        return check.severity in NOT_BLOCKING, priority_of(check, promises, database=database)

    return sorted(checks, key=rank)


def priority_of(check: CheckBase, promises: Sequence[ClassPromise], *, database: str) -> int:
    """Return the priority of the most urgent class that a check names a table of."""
    names = set(_names(check))
    found = [
        promise.ranked.priority
        for promise in promises
        if any(promise.ranked.holds(check.database or database, schema, table) for schema, table in names)
    ]
    return min(found, default=LAST)


def _names(check: CheckBase) -> Iterator[tuple[str | None, str]]:
    """Yield whatever could be the name of a table, with its schema where that is said, else `public`."""
    for field, value in check:
        if field not in CheckBase.model_fields:
            for schema, table in QUALIFIED.findall(str(value)):
                yield _bare(schema) or "public", _bare(table) or ""


def _bare(name: str | None) -> str | None:
    return name[1:-1].replace('""', '"') if name and name.startswith('"') else name or None
