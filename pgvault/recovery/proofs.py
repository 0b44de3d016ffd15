"""What drills have proven: at which positions in the WAL a restored cluster was right, and where it was not.

    reports of drills ─► Proof, Proof, …          physical ones that reached their target, of one system

A position is the end of the last record that was replayed, on the timeline that was replayed: a restore that stops
there holds exactly what the drill looked at, from whatever backup it comes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from pgvault.errors import UsageError
from pgvault.instants import iso
from pgvault.postgres.lsn import Lsn
from pgvault.repository.drilled import Outcome
from pgvault.repository.drillreports import read_reports, report_ids
from pgvault.repository.fields import read_count, read_decimal, read_instant, read_text
from pgvault.repository.repository import Repository

MOST_READS = 512  # the newest reports; a day's three drills of half a year


@dataclass(frozen=True, slots=True)
class Proof:
    """What one drill found at one position."""

    drill_id: str
    drilled_at: datetime  # when it began, by the clock of its host
    label: str  # of the backup that it restored
    system_identifier: int
    timeline: int
    lsn: Lsn  # the end of what was replayed
    as_of: datetime | None  # by the server's clock; None: not known
    is_good: bool  # it passed every check that stops a drill
    reason: str | None = None  # why it is not
    asked: frozenset[str] = frozenset()  # names of the configured checks that said something
    failed: frozenset[str] = frozenset()  # those of them that failed

    @property
    def moment(self) -> str:
        """The position, for people."""
        return f"LSN {self.lsn}" if self.as_of is None else f"{iso(self.as_of)} (LSN {self.lsn})"


def read_proofs(repository: Repository, cluster: str, system_identifier: int) -> tuple[Proof, ...]:
    """Return what the newest drills of a system proved, newest first."""
    ids = report_ids(repository, cluster)[:MOST_READS]
    found = (proof_of(report) for report in read_reports(repository, cluster, ids))
    return tuple(proof for proof in found if proof is not None and proof.system_identifier == system_identifier)


def proof_of(report: Mapping[str, Any]) -> Proof | None:
    """Read a report; None where the drill reached no position, or an older pgvault did not say what is asked here."""
    try:
        reached = report["reached"]
        return Proof(
            drill_id=read_text(report["id"]),
            drilled_at=read_instant(report["started_at"]),
            label=read_text(report["backup"]),
            system_identifier=read_decimal(reached["system_identifier"]),
            timeline=read_count(reached["timeline"]),
            lsn=Lsn.parse(read_text(reached["lsn"])),
            as_of=None if report["as_of"] is None else read_instant(report["as_of"]),
            is_good=Outcome(report["outcome"]).is_proof,
            reason=None if report["error"] is None else read_text(report["error"]),
            asked=_configured(report, "passed", "failed"),
            failed=_configured(report, "failed"),
        )
    except (KeyError, TypeError, UsageError, ValueError):
        return None


def _configured(report: Mapping[str, Any], *verdicts: str) -> frozenset[str]:
    return frozenset(
        read_text(check["name"])
        for check in report.get("checks", ())
        if check.get("origin") == "configured" and check.get("verdict") in verdicts
    )
