"""Judge what the checks found: of each configured one its last result on the live server, and in a drill.

A check that could not look counts among the failing ones, as long as it could not: nobody knows whether the data are
right. One that never ran has no result and is not well either. What the drill asked by itself (constraints, pages) is
told only where it failed: there may be thousands of them, and they come and go with the tables.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from typing import Any

from pgvault.checks.result import NOT_BLOCKING, Origin, Verdict
from pgvault.config import CheckBase
from pgvault.errors import UsageError
from pgvault.instants import iso
from pgvault.monitor.finding import Figures, Finding, Level, ok, span, warn
from pgvault.repository.checkruns import read_runs
from pgvault.repository.fields import read_instant
from pgvault.repository.repository import Repository
from pgvault.schedule import CronSchedule, read_cron

NAME = "check"  # a finding for each
SUMMARY = "checks"  # one finding for all
LIVE, DRILL = "live", "drill"
RUNS_READ = 400  # at most: a weekly check is behind 335 runs of one that runs every half hour
GRACE = timedelta(hours=2)  # after a slot, in which its run may still be under way
STARTS_EARLY = timedelta(minutes=1)  # by another clock
SEE_LIVE = "See: pgvault checks list --results"


@dataclass(frozen=True, slots=True)
class CheckFound:
    """The last result of one check in one place."""

    name: str
    where: str  # live or drill
    severity: str
    threshold: float
    at: datetime  # when that run began
    verdict: Verdict
    measured: float | None
    detail: str
    run_id: str

    @property
    def is_failing(self) -> bool:
        """Whether it does not say that the data are right."""
        return self.verdict is not Verdict.PASSED


@dataclass(frozen=True, slots=True)
class Expected:
    """Which checks should run, and when."""

    checks: Sequence[CheckBase]
    now: datetime
    schedule: str | None = None  # of checks that have none of their own
    zone: str = "UTC"


@dataclass(frozen=True, slots=True)
class Results:
    """What is known of them: by name, the last result of each."""

    live: Mapping[str, CheckFound]
    drilled: Mapping[str, CheckFound]
    beside: Sequence[CheckFound] = ()  # what else failed in the newest drill that ran


def look_at_checks(
    repository: Repository, cluster: str, expected: Expected, reports: Iterable[Mapping[str, Any]]
) -> Iterator[Finding]:
    """Judge the checks of a cluster by what is stored; `reports` are of drills, newest first.

    Raises what reading a store raises.
    """
    live = find_live(read_runs(repository, cluster), expected.checks) if expected.checks else {}
    drilled, beside = find_drilled(reports, expected.checks)
    yield from judge_checks(expected, Results(live, drilled, beside))


def find_live(runs: Iterable[Mapping[str, Any]], checks: Sequence[CheckBase]) -> dict[str, CheckFound]:
    """Return the last live result of each check by name; no more runs are read than that takes."""
    wanted = {check.name: check for check in checks}
    found: dict[str, CheckFound] = {}
    for run in islice(runs, RUNS_READ):
        for result in run["results"]:
            name = result["name"]
            if name in wanted and name not in found:
                found[name] = _found(result, run, LIVE, wanted[name])
        if len(found) == len(wanted):
            break
    return found


def find_drilled(
    reports: Iterable[Mapping[str, Any]], checks: Sequence[CheckBase]
) -> tuple[dict[str, CheckFound], list[CheckFound]]:
    """Return the last drilled result of each check by name, and what else failed in the newest drill that ran."""
    wanted = {check.name: check for check in checks}
    found: dict[str, CheckFound] = {}
    beside: list[CheckFound] | None = None
    for report in reports:
        if not report.get("could_run", True):
            continue
        others: dict[str, CheckFound] = {}
        for result in report.get("checks", ()):
            name = result["name"]
            if result.get("origin") == Origin.CONFIGURED:
                if name in wanted and name not in found:
                    found[name] = _found(result, report, DRILL, wanted[name])
            elif Verdict(result["verdict"]) is Verdict.FAILED and name not in wanted:
                others.setdefault(name, _found(result, report, DRILL, None))
        beside = list(others.values()) if beside is None else beside
    return found, beside or []


def judge_checks(expected: Expected, results: Results) -> Iterator[Finding]:
    """Yield a finding for each check and place, and first one for all of them; nothing where there are none."""
    findings: list[Finding] = []
    now, drilled = expected.now, results.drilled
    for check in expected.checks:
        schedule = check.schedule or expected.schedule
        live = results.live.get(check.name)
        if live is not None:
            overdue = None if schedule is None else _overdue(live.at, schedule, expected.zone, now)
            findings.append(_judge(live, overdue=overdue, now=now))
        elif schedule is not None or check.name not in drilled:
            findings.append(_never(check, LIVE))
        if check.name in drilled:
            findings.append(_judge(drilled[check.name], overdue=None, now=now))
        elif drilled:  # without any drill, the finding of drills says it once
            findings.append(_never(check, DRILL))
    findings += [_judge(each, overdue=None, now=now) for each in results.beside]
    if findings:
        yield _sum_up(findings, len(expected.checks))
        yield from findings


def _found(result: Mapping[str, Any], document: Mapping[str, Any], where: str, check: CheckBase | None) -> CheckFound:
    return CheckFound(
        name=str(result["name"]),
        where=where,
        severity=str(result["severity"]) if check is None else check.severity,
        threshold=float(result["threshold"]) if check is None else check.threshold,
        at=read_instant(document["started_at"]),
        verdict=Verdict(result["verdict"]),
        measured=None if result["measured"] is None else float(result["measured"]),
        detail=str(result["detail"]),
        run_id=str(document["id"]),
    )


def _judge(found: CheckFound, *, overdue: str | None, now: datetime) -> Finding:
    """What fails is red where it stops something; what could not look, or is late, is not known."""
    figures: Figures = {
        "check": found.name,
        "severity": found.severity,
        "where": found.where,
        "failures": int(found.is_failing),
        "measured": found.measured,
        "threshold": found.threshold,
        "at": iso(found.at),
        "verdict": str(found.verdict),
        "run": found.run_id,
        "is_overdue": overdue is not None,
    }
    place = "on the live server" if found.where == LIVE else "in the drill"
    said = f"{found.name} ({found.severity}), {place} {span(now - found.at)} ago: {found.detail}"
    hint = SEE_LIVE if found.where == LIVE else f"See: pgvault drills {found.run_id}"
    if found.verdict is Verdict.FAILED:
        level = Level.WARN if found.severity in NOT_BLOCKING else Level.RED
        return Finding(NAME, level, said, hint, figures)
    if found.verdict is Verdict.UNPROVEN:
        return warn(NAME, f"unknown: {said}", figures, hint=hint)
    if overdue is not None:
        return warn(NAME, f"unknown since: {said}; {overdue}", figures, hint="Does pgvault checks run --live run?")
    return Finding(NAME, Level.OK, said, None, figures, is_told=False)


def _never(check: CheckBase, where: str) -> Finding:
    """It says nothing: not that the data are wrong, and not that they are right."""
    figures: Figures = {"check": check.name, "severity": check.severity, "where": where, "count": 0, "is_overdue": True}
    if where == LIVE:
        hint = "Run it: pgvault checks run --live"
        return warn(NAME, f"unknown: {check.name} never ran on the live server", figures, hint=hint)
    return warn(NAME, f"unknown: {check.name} never ran in a drill", figures, hint="Run it: pgvault drill")


def _overdue(at: datetime, schedule: str, zone: str, now: datetime) -> str | None:
    """Say that a run which the schedule promised did not come; None where it did."""
    try:
        cron = CronSchedule(read_cron(schedule), zone)
    except UsageError as error:
        return f"when it should run is not known: {error}"
    newest = cron.previous_slot(now)
    if newest is None:
        return None
    before = cron.previous_slot(newest - timedelta(seconds=1)) or newest
    due = cron.previous_slot(now - min(GRACE, newest - before))
    if due is None or at >= due - STARTS_EARLY:
        return None
    return f"it should have run {span(now - due)} ago"


def _sum_up(findings: Sequence[Finding], configured: int) -> Finding:
    """One line for people; how it is, each of them says."""
    failing = [str(each.figures["check"]) for each in findings if each.figures.get("failures")]
    passing = sum(each.figures.get("failures") == 0 for each in findings)
    unknown = sum("failures" not in each.figures for each in findings)
    figures: Figures = {"configured": configured, "passing": passing, "failing": len(failing), "never_ran": unknown}
    parts = [
        f"{passing} results pass",
        f"{len(failing)} do not" * bool(failing),
        f"{unknown} are lacking" * bool(unknown),
    ]
    said = ", ".join(part for part in parts if part)
    if all(each.level is Level.OK for each in findings):
        return ok(SUMMARY, said, figures)
    level = Level.RED if any(each.level is Level.RED for each in findings) else Level.WARN
    return Finding(SUMMARY, level, said, None, figures)
