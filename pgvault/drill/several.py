"""Several drills in turn, one for each target, and how that ended as a whole: as the worst of them."""

from __future__ import annotations

from collections.abc import Sequence

from pgvault.drill.report import DrillReport
from pgvault.drill.run import require_passed
from pgvault.errors import DrillFailed, DrillNotRun, ObjectiveMissed, PgvaultError, UsageError

WORST_FIRST = (DrillFailed, ObjectiveMissed, DrillNotRun)


def require_all_passed(reports: Sequence[DrillReport]) -> None:
    """Raise what the worst drill raises, with the number of those that did not pass; nothing proves nothing."""
    if not reports:
        raise UsageError("no target to drill to")
    errors = [error for error in map(_error_of, reports) if error is not None]
    if not errors:
        return
    worst = min(errors, key=lambda error: WORST_FIRST.index(type(error)))
    if len(reports) == 1:
        raise worst
    others = "" if len(errors) == 1 else f"; {len(errors) - 1} more did not pass either"
    raise type(worst)(f"{len(errors)} of {len(reports)} drills did not pass: {worst}{others}", hint=worst.hint)


def _error_of(report: DrillReport) -> PgvaultError | None:
    try:
        require_passed(report)
    except WORST_FIRST as error:
        return error
    return None
