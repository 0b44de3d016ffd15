"""What a check found: passed, failed, or not proven, with the measure and, for people, one sentence."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Any

from pgvault.errors import PgvaultError

SAMPLE_ROWS = 20
NOT_BLOCKING = frozenset({"low", "info", "warning"})  # severities that are told, and stop nothing


class Origin(enum.StrEnum):
    """Who asked for a check."""

    BUILT_IN = "built-in"
    DERIVED = "derived"  # from the constraints in the catalog
    CONFIGURED = "configured"


class Verdict(enum.StrEnum):
    """How a check ended. What is not proven never counts as passed, and is no failure of the data either."""

    PASSED = "passed"
    FAILED = "failed"
    UNPROVEN = "unproven"


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What one check found."""

    name: str
    verdict: Verdict
    measured: float | None  # None: nothing could be measured
    threshold: float
    severity: str
    detail: str  # one sentence for people
    seconds: float
    database: str | None = None
    sample: tuple[str, ...] = ()  # the first offending rows
    origin: Origin = Origin.BUILT_IN
    tables: tuple[str, ...] = ()  # schema.table of what its plan scans, where known
    ended_after: float | None = None  # seconds since the drill began, when this was known; None: not in a drill

    @property
    def passed(self) -> bool:
        """The data were looked at, and are right."""
        return self.verdict is Verdict.PASSED

    @property
    def failed(self) -> bool:
        """The data are wrong, or could not be measured."""
        return self.verdict is Verdict.FAILED

    @property
    def is_blocking(self) -> bool:
        """Whether a failure says that what was restored can not be used."""
        return self.severity not in NOT_BLOCKING

    def to_json(self) -> dict[str, Any]:
        """Return it for machines."""
        return {
            "name": self.name,
            "passed": self.passed,
            "verdict": str(self.verdict),
            "origin": str(self.origin),
            "measured": self.measured,
            "threshold": self.threshold,
            "severity": self.severity,
            "detail": self.detail,
            "seconds": round(self.seconds, 3),
            "ended_after_seconds": None if self.ended_after is None else round(self.ended_after, 3),
            "database": self.database,
            "tables": list(self.tables),
            "sample": list(self.sample),
        }


@dataclass(frozen=True, slots=True)
class NotTested:
    """Something that a look did not see, or that is not there to be seen: neither a pass nor a warning."""

    what: str  # for people: what, and why


def finding(
    name: str, error: PgvaultError | str | None, *, seconds: float, severity: str = "critical", detail: str = "passed"
) -> CheckResult:
    """Turn a built-in look, which either passed or raised, into a result: 0 or 1 problems, none allowed."""
    verdict = Verdict.PASSED if error is None else Verdict.FAILED
    said = detail if error is None else str(error)
    return CheckResult(name, verdict, 0 if error is None else 1, 0, severity, said, seconds)


def unproven(name: str, why: str, *, seconds: float = 0, severity: str = "critical") -> CheckResult:
    """Say that a look could not be taken: it neither passed nor failed."""
    return CheckResult(name, Verdict.UNPROVEN, None, 0, severity, f"not proven: {why}", seconds)
