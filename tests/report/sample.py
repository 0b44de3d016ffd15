"""A report of two clusters and two copies as `gather` would make it, out of documents as drills and runs store them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from pgvault.config import ClassConfig, Objectives
from pgvault.config.checks import CheckConfig
from pgvault.monitor.finding import Finding, ok, red, warn
from pgvault.report.coverage import make_window, silent_lane
from pgvault.report.document import Backup, Bar, ClusterReport, Hole, Lane, Mark, Proof, Report, Verification
from pgvault.report.gather import drill_of
from pgvault.report.headline import headline
from pgvault.report.promises import judge_classes, judge_promises, read_drilled
from pgvault.report.quality import DRILL, LIVE, Results

NOW = datetime(2026, 11, 21, 8, 0, tzinfo=UTC)
ZONE = "Europe/Berlin"
OBJECTIVES = Objectives(rto="4h", rpo="15m", backup_age="24h", success_rate="99.9%")
CLASSES = {
    "critical": ClassConfig(tables=("public.accounts", "public.payments"), priority=1, rto="1h", rpo="15m"),
    "low": ClassConfig(tables=("analytics.*",), priority=4, rto="24h", rpo="48h"),
}
CHECKS = tuple(
    CheckConfig(name=name, query="SELECT 1", severity=severity)
    for name, severity in (("orphaned_orders", "critical"), ("negative_balances", "high"), ("daily_totals", "warning"))
)


def days(number: float) -> datetime:
    """So many days before now."""
    return NOW - timedelta(days=number)


def found(name: str, verdict: str = "passed", **changes: Any) -> dict[str, Any]:
    """The result of a check, as it is stored."""
    detail = (
        "0 rows, at most 0" if verdict == "passed" else "2 rows, at most 0" if verdict == "failed" else "not proven"
    )
    measured = {"passed": 0, "failed": 2, "unproven": None}[verdict]
    rows = ["order_id=17", "order_id=4711"] if verdict == "failed" else []
    said = {"name": name, "verdict": verdict, "passed": verdict == "passed", "severity": "critical", "sample": rows}
    return said | {"detail": detail, "measured": measured, "threshold": 0, "origin": "configured"} | changes


def run(number: float, *results: Mapping[str, Any]) -> dict[str, Any]:
    """A run of checks on the live server."""
    return {"id": f"run-{number}", "started_at": days(number).isoformat(), "results": list(results)}


def drill(number: float, outcome: str = "passed", *checks: Mapping[str, Any], **changes: Any) -> dict[str, Any]:
    """The report of a drill so many days ago."""
    is_proof = outcome in ("passed", "objective missed")
    rto = 2400.0 + 60 * number if is_proof else None
    line: dict[str, Any] = {"name": "critical", "proven": is_proof, "rto_seconds": rto and rto / 2, "rpo_seconds": 31.5}
    said: dict[str, Any] = {
        "id": f"drill-{number}",
        "started_at": days(number).isoformat(),
        "outcome": outcome,
        "passed": outcome == "passed",
        "error": None if outcome == "passed" else "check 'orphaned_orders': 2 rows, at most 0",
        "target": "the end of the archived WAL",
        "as_of": days(number + 0.01).isoformat(),
        "backup": f"backup-{int(number) + 1}",
        "copies": ["primary", "dr"],
        "rto_seconds": rto,
        "rpo_seconds": 31.5,
        "classes": [
            line | {"checks": ["orphaned_orders"], "note": "" if is_proof else "check 'orphaned_orders' failed"}
        ],
        "objectives": {"judged": []},
        "checks": [found("pg_amcheck", origin="built-in"), *checks],
        "not_tested": ["roles' passwords and access from clients", "logical replication"],
    }
    return said | changes


RUNS = [
    run(each / 4, found("orphaned_orders", "failed" if 9 < each < 13 else "passed"), found("daily_totals", "unproven"))
    for each in range(1, 44)
]
DRILLS = [
    drill(each, "failed" if each == 15 else "passed", found("orphaned_orders", "failed" if each == 15 else "passed"))
    for each in (1, 8, 15, 22, 29)
]
FINDINGS = (
    ok("server", "PostgreSQL 18.6, timeline 1, WAL at 0/5A000148"),
    ok("backup", "backup-1, 7.0 h ago; 30 in all", {"count": 30}),
    warn("anomaly", "full: 62 % smaller than the median of 7", hint="Was something dropped?"),
    ok("objective", "kept", {"objective": "backup_age", "class": None, "measured": 25200.0, "is_kept": True}),
    ok("objective", "kept", {"objective": "success_rate", "class": None, "measured": 0.9995, "is_kept": True}),
)


def promises_of(documents: Sequence[Mapping[str, Any]], findings: Sequence[Finding] = FINDINGS) -> dict[str, Any]:
    """The objectives by name."""
    drills = [read_drilled(document) for document in documents]
    return {each.name: each for each in judge_promises(OBJECTIVES, drills, findings, now=NOW)}


def make_cluster(
    drills: Sequence[Mapping[str, Any]] = DRILLS, findings: Sequence[Finding] = FINDINGS, **changes: Any
) -> ClusterReport:
    """A cluster that was backed up for a month, with a gap."""
    judged = [read_drilled(report) for report in drills]
    objectives = tuple(judge_promises(OBJECTIVES, judged, findings, now=NOW))
    classes = judge_classes(CLASSES, judged)
    results = Results(CHECKS)
    for document in RUNS:
        results.add(document, where=LIVE)
    for each in drills:
        results.add(each, where=DRILL)
    shown = tuple(drill_of(report) for report in drills)
    of_classes = [promise for of in classes for promise in (of.rto, of.rpo)]
    return replace(
        ClusterReport(
            cluster="main",
            headline=headline(findings, [*objectives, *of_classes], shown, zone=ZoneInfo(ZONE)),
            quality=results.quality(limit=100)[0],
            findings=tuple(findings),
            objectives=objectives,
            classes=classes,
            window=make_window([make_lane_of(shown), silent_lane("dr", "the store does not answer")], now=NOW),
            drill_count=12,
            drills=shown,
            backup_count=30,
            backups=tuple(backup(each) for each in range(1, 8)),
            not_tested=("roles' passwords and access from clients", "copy 'dr': none of the last 5 drills"),
            left_out=("7 of 12 drills, the older ones",),
        ),
        **changes,
    )


def make_lane_of(drills: Sequence[Any]) -> Lane:
    """A copy with a gap of five hours eleven days ago."""
    bars = (
        Bar(1, days(30), days(11.2), days(11.1), "followed"),
        Bar(1, days(10.3), days(0.05), days(0.01), "followed"),
    )
    marks = tuple(Mark(f"backup-{each}", "full", days(each - 0.7)) for each in range(30, 0, -1))
    hole = Hole(1, days(11.1), days(10.9), days(10.3), 3, "archiving failed")
    proofs = tuple(Proof(each.id, each.as_of, each.outcome) for each in drills if each.as_of)
    return Lane("primary", None, 30, marks, bars, (hole,), (), proofs)


def backup(number: int) -> Backup:
    """A backup of so many days ago."""
    seen = (Verification("primary", days(number - 0.5), is_whole=True),) if number > 2 else ()
    at, outcome = (days(number - 0.8), "passed") if number == 2 else (None, None)
    return Backup(
        f"backup-{number}", "full", days(number - 0.69), 842.5, 48_318_382_080, 12_918_382_080, seen, at, outcome
    )


def make_report(*clusters: ClusterReport, **changes: Any) -> Report:
    """A report read without its second copy."""
    reading = {
        "key": None,
        "copies": ["primary"],
        "unread_copies": [{"copy": "dr", "error": "the store does not answer"}],
    }
    made = Report(NOW, "pgvault 0.5.0", ZONE, "all", reading | {"healed": []}, clusters or (make_cluster(),))
    return replace(made, **changes)


def broken_findings() -> tuple[Finding, ...]:
    """What status finds where an archiver lies."""
    return (red("WAL lag", "nothing arrived for 3 h", hint="See: pgvault check"), *FINDINGS)
