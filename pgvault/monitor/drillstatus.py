"""Judge what the last drills of a cluster said: when one passed, and whether the newest did."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from pgvault.errors import PgvaultError
from pgvault.monitor.finding import Figures, Finding, ok, span, warn
from pgvault.repository.drilled import Outcome
from pgvault.repository.drillreports import read_reports, report_ids
from pgvault.repository.fields import read_instant
from pgvault.repository.repository import Repository

LOOKED_AT = 16  # the newest reports
NAME = "drill"


def look_at_drills(repository: Repository, cluster: str, *, now: datetime) -> Iterator[Finding]:
    """Yield a finding where the cluster was ever drilled."""
    try:
        ids = report_ids(repository, cluster)[:LOOKED_AT]
        reports = list(read_reports(repository, cluster, ids))
    except PgvaultError as error:
        yield warn(NAME, f"unknown: {error}")
        return
    if ids:
        yield judge_drills(reports, now=now)


def judge_drills(reports: Sequence[Mapping[str, Any]], *, now: datetime) -> Finding:
    """Judge reports, newest first: a drill that could not run says nothing, one that failed should be looked at."""
    ran = [report for report in reports if report.get("could_run", True)]
    passed = next((report for report in ran if report.get("passed") is True), None)
    if passed is None:
        return warn(NAME, f"none of the last {len(reports)} passed", hint="See: pgvault drills")
    age = now - read_instant(passed["started_at"])
    figures: Figures = {"id": str(passed["id"]), "age_seconds": age.total_seconds(), "backup": str(passed["backup"])}
    said = f"passed {span(age)} ago ({passed['target']}, from backup {passed['backup']})"
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
