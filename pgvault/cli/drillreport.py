"""A drill's report for people: tables of what was looked at and what was promised, then lines, the verdict last."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pgvault.checks.result import CheckResult
from pgvault.cli import render
from pgvault.cli.drills import LIST_COLUMNS, NEVER, short_target
from pgvault.drill.classes import ClassLine
from pgvault.drill.forecast import LEAST_DRILLS
from pgvault.drill.objectives import Judged, Measure
from pgvault.drill.report import DrillReport
from pgvault.repository.drilled import Outcome

UNKNOWN = "?"
WORDS = {
    Outcome.PASSED: "passed",
    Outcome.MISSED: "OBJECTIVE MISSED",
    Outcome.FAILED: "FAILED",
    Outcome.NOT_RUN: "COULD NOT RUN",
}
CLASS_COLUMNS = ("class", "priority", "RTO", "promised", "RPO", "promised", "checks", "tables")
OBJECTIVE_COLUMNS = ("", "objective", "promised", "measured", "")


def write_report(report: DrillReport) -> None:
    """Write a drill's report."""
    rows = [
        (mark(check), check.name, check.severity, check.detail, render.duration(check.seconds))
        for check in report.checks
    ]
    if rows:
        title = f"drill {report.id} of backup {report.backup}: {WORDS[report.outcome]}"
        render.write_table(title, ("", "check", "severity", "found", "took"), rows)
    if report.classes:
        render.write_table("", CLASS_COLUMNS, [_class_row(line) for line in report.classes])
    if report.judged:
        render.write_table("", OBJECTIVE_COLUMNS, [_objective_row(judged) for judged in report.judged])
    if report.copies:
        rows_of_copies = [
            (each.copy, _seconds(None if each.rpo is None else each.rpo.seconds), each.method) for each in report.copies
        ]
        render.write_table("", ("copy", "RPO at most", ""), rows_of_copies)
    render.write_lines([*_lines(report), verdict(report)])


def write_summary(reports: Sequence[DrillReport]) -> None:
    """Write a line for each of several drills."""
    rows = [
        (
            report.id,
            WORDS[report.outcome],
            _seconds(report.rto_seconds),
            _seconds(None if report.rpo is None else report.rpo.seconds),
            short_target(report.target),
            report.backup or NEVER,
        )
        for report in reports
    ]
    render.write_table(f"{len(reports)} drills", LIST_COLUMNS, rows)


def several_document(reports: Sequence[DrillReport]) -> dict[str, Any]:
    """Return several reports as the one document of a command."""
    return {"drills": [report.to_json() for report in reports]}


def mark(check: CheckResult) -> str:
    """The word before a check."""
    return render.mark(check.verdict, is_blocking=check.is_blocking)


def _lines(report: DrillReport) -> Iterator[str]:
    for check in report.checks:
        yield from (f"{check.name}: {render.printable(row)}" for row in check.sample)
    yield f"target: {report.target}"
    if report.isolation is not None:
        yield f"isolation: {report.isolation}"
    yield "phases: " + ", ".join(_phase(report, name) for name in report.phases)
    if report.reached is not None:
        yield f"reached: {_where(report.reached)}"
    if report.landing is not None:
        yield f"landed: {report.landing}"
    yield from _expected(report)
    yield from (f"note: {note}" for note in report.notes)
    yield from (f"warning: {warning}" for warning in report.warnings)
    yield from (f"not tested: {what}" for what in report.not_tested)


def _phase(report: DrillReport, name: str) -> str:
    amount = f" ({render.size(report.sizes[name])})" if name in report.sizes else ""
    return f"{name} {render.duration(report.phases[name])}{amount}"


def _expected(report: DrillReport) -> Iterator[str]:
    """Yield what was to be expected, beside what it took."""
    if report.past_drills is None:
        return
    if report.forecast is None:
        yield f"forecast: none, from {report.past_drills} earlier drills; it takes {LEAST_DRILLS}"
        return
    measured = "" if report.rto_seconds is None else f", measured {render.duration(report.rto_seconds)}"
    yield f"expected RTO: {render.duration(report.forecast.rto_seconds)}{measured} ({report.forecast})"
    if report.forecast.breaks_at is not None:
        yield f"growth: if it goes on, the RTO objective breaks about {report.forecast.breaks_at:%Y-%m-%d}"


def _class_row(line: ClassLine) -> tuple[str, ...]:
    return (
        line.name,
        str(line.promise.ranked.priority),
        _measured(line.rto),
        "" if line.promise.rto is None else render.duration(line.promise.rto),
        _measured(line.rpo),
        "" if line.promise.rpo is None else render.duration(line.promise.rpo),
        str(len(line.checks)),
        ", ".join(line.tables) or "none that a check touched",
    )


def _objective_row(judged: Judged) -> tuple[str, ...]:
    share = judged.name == "success_rate"
    promised = f"{judged.promised:.2%}" if share else render.duration(judged.promised)
    mark = "MISS" if judged.is_missed else UNKNOWN if judged.measure.seconds is None else "ok"
    return mark, judged.name, promised, _measured(judged.measure), judged.measure.note


def _measured(measure: Measure) -> str:
    return _seconds(measure.seconds)


def _seconds(seconds: float | None) -> str:
    return UNKNOWN if seconds is None else render.duration(seconds)


def _where(reached: Mapping[str, Any]) -> str:
    if "databases" not in reached:
        return f"{reached['lsn']} on timeline {reached['timeline']}"
    count = len(reached["databases"])
    return f"the snapshots of {count} database{'s' * (count != 1)}, the oldest of {reached['snapshot_at']}"


def verdict(report: DrillReport) -> str:
    """The closing line: passed or not, RTO and RPO against what was promised."""
    words = [WORDS[report.outcome].upper()]
    if not report.passed:
        words.append(report.reason)
    rto, rpo = report.objectives.rto, report.objectives.rpo
    if report.rto_seconds is not None:
        promised = f" (promised {render.duration(rto)})" if rto is not None else ""
        words.append(f"RTO {render.duration(report.rto_seconds)}{promised}")
    if report.rpo is not None:
        promised = f" (promised {render.duration(rpo)})" if rpo is not None else ""
        words.append(f"RPO at most {render.duration(report.rpo.seconds)}{promised}")
    else:
        words.append(f"RPO {report.rpo_method}")
    return " · ".join(words)
