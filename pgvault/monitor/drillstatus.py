"""Judge what the last drills of a cluster said: when one passed, and whether the newest did."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from pgvault.config import ClusterConfig
from pgvault.instants import iso
from pgvault.monitor.finding import Figures, Finding, ok, span, warn
from pgvault.monitor.objectivestatus import judge_one
from pgvault.repository.drilled import Outcome
from pgvault.repository.fields import read_instant

NAME = "drill"


def look_at_drills(
    config: ClusterConfig, reports: Sequence[Mapping[str, Any]], *, is_empty: bool, now: datetime
) -> Iterator[Finding]:
    """Yield how drills went, by the newest reports that open, newest first; `is_empty`: there is none at all."""
    if not reports and not is_empty:
        yield warn(NAME, "unknown: no report of a drill opens")
        return
    yield judge_drills(reports, now=now)
    yield from judge_classes(config, reports)


def judge_drills(reports: Sequence[Mapping[str, Any]], *, now: datetime) -> Finding:
    """Judge reports, newest first: a drill that could not run says nothing, one that failed should be looked at."""
    ran = _that_ran(reports)
    passed = next((report for report in ran if report.get("passed") is True), None)
    figures = _figures(reports, ran, passed, now)
    if not reports:
        return warn(NAME, "never drilled: nothing proves that a restore works", figures, hint="Run: pgvault drill")
    if passed is None:
        why = f": {reports[0].get('error')}" if reports[0].get("error") else ""
        said = f"none of the last {len(reports)} passed{why}"
        return warn(NAME, said, figures, hint="See: pgvault drills")
    age = now - read_instant(passed["started_at"])
    said = f"passed {span(age)} ago ({passed['target']}, from backup {passed['backup']}{_measured(passed)})"
    newest = ran[0]
    if newest is passed:
        return ok(NAME, said, figures)
    how = newest.get("outcome") or Outcome.FAILED
    when = span(now - read_instant(newest["started_at"]))
    return warn(
        NAME,
        f"the last one, {when} ago, did not pass ({how}): {newest.get('error')}; last {said}",
        figures,
        hint=f"See: pgvault drills {newest['id']}",
    )


def judge_classes(config: ClusterConfig, reports: Sequence[Mapping[str, Any]]) -> Iterator[Finding]:
    """Yield the RTO that was promised of each data class beside what the newest drill that ran measured."""
    ran = _that_ran(reports)
    lines = {str(line.get("name")): line for line in ran[0].get("classes") or ()} if ran else {}
    for name, of in config.classes.items():
        if of.rto is None:
            continue
        line = lines.get(name, {})
        note = line.get("note") or ("the last drill knew no such class" if ran else "never drilled")
        yield judge_one("rto", of.rto.total_seconds(), _number(line.get("rto_seconds")), of_class=name, note=str(note))


def _that_ran(reports: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return [report for report in reports if report.get("could_run", True)]


def _figures(
    reports: Sequence[Mapping[str, Any]],
    ran: Sequence[Mapping[str, Any]],
    passed: Mapping[str, Any] | None,
    now: datetime,
) -> Figures:
    newest = ran[0] if ran else None
    passed_at = None if passed is None else read_instant(passed["started_at"])
    return {
        "count": len(reports),  # of those that were looked at
        "id": None if passed is None else str(passed["id"]),
        "backup": None if passed is None else str(passed["backup"]),
        "last_passed_at": None if passed_at is None else iso(passed_at),
        "age_seconds": None if passed_at is None else (now - passed_at).total_seconds(),
        "last_run_at": None if newest is None else iso(read_instant(newest["started_at"])),
        "last_tried_at": iso(read_instant(reports[0]["started_at"])) if reports else None,
        "outcome": None if newest is None else str(newest.get("outcome") or _outcome(newest)),
        "could_not_run": next((n for n, each in enumerate(reports) if each is newest), len(reports)),
        "rto_seconds": None if passed is None else _number(passed.get("rto_seconds")),
        "rpo_seconds": None if passed is None else _number(passed.get("rpo_seconds")),
        "last_rto_seconds": None if newest is None else _number(newest.get("rto_seconds")),
        "last_rpo_seconds": None if newest is None else _number(newest.get("rpo_seconds")),
    }


def _outcome(report: Mapping[str, Any]) -> Outcome:
    """Reports of older versions do not say it in a word."""
    return Outcome.PASSED if report.get("passed") is True else Outcome.FAILED


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def _measured(report: Mapping[str, Any]) -> str:
    figures = (("RTO", _number(report.get("rto_seconds"))), ("RPO", _number(report.get("rpo_seconds"))))
    return "".join(f", {name} {span(seconds)}" for name, seconds in figures if seconds is not None)
