"""What a drill leaves at the backup that it restored: its outcome in short, behind its report."""

from __future__ import annotations

from pgvault.drill.report import DrillReport
from pgvault.errors import ObjectMissing, PgvaultError
from pgvault.postgres.lsn import Lsn
from pgvault.repository.catalog import read_root
from pgvault.repository.drilled import Drilled, Outcome, put_drilled
from pgvault.repository.repository import Repository


def mark_backup(repository: Repository, report: DrillReport) -> None:
    """Put the mark; none for a drill that could not run, or came to no backup. What goes wrong is a note."""
    if repository.unwritable is not None or report.backup is None or report.outcome is Outcome.NOT_RUN:
        return
    try:
        if _is_there(repository, report.cluster, report.backup):
            put_drilled(repository, report.cluster, mark_of(report, _copies(repository)))
    except PgvaultError as error:
        report.notes.append(f"how this drill ended could not be noted at backup {report.backup}: {error}")


def mark_of(report: DrillReport, copies: tuple[str, ...]) -> Drilled:
    """Return what a report says in short."""
    assert report.backup is not None
    reached = report.reached or {}
    return Drilled(
        label=report.backup,
        drill_id=report.id,
        at=report.started_at,
        target=report.target,
        as_of=report.as_of,
        lsn=Lsn.parse(reached["lsn"]) if "lsn" in reached else None,
        timeline=reached.get("timeline"),
        outcome=report.outcome,
        copies=copies,
        rto_seconds=report.rto_seconds,
        rpo_seconds=None if report.rpo is None else report.rpo.seconds,
    )


def _copies(repository: Repository) -> tuple[str, ...]:
    return tuple(copy.name for copy in repository.copies if copy.name not in repository.unread)


def _is_there(repository: Repository, cluster: str, label: str) -> bool:
    """Tell whether the backup was not removed since: a mark without a backup looks like one that lost its root."""
    try:
        return read_root(repository, cluster, label) is not None
    except ObjectMissing:
        return False
