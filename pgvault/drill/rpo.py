"""RPO: how much would be lost, measured on what the copy holds, and by which clock.

    moment of failure ─────────────► when it was told to be; else now: the server's clock while it answers, else ours
    proven until ──────────────────► the latest instant up to which everything committed is in the copy:
                                     the last replayed commit, an idle watermark inside the WAL, the backup's start
    RPO = moment of failure - proven until           at least 0

The backup's stop proves nothing: a commit may fall between the end of its WAL and the reading of the clock. (A commit
takes its time microseconds before its place in the WAL, and two may overtake each other: that is the error.)
Between two proofs nobody knows whether anything was committed, so the figure is an upper bound and says so. A past
target has no RPO: nothing failed then.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from pgvault.errors import DrillNotRun
from pgvault.instants import iso, say_seconds
from pgvault.repository.manifest import Manifest

UNPROVEN = "not known: the backup is of a standby, which may have lagged, and no commit or idle moment is behind it"
CLOCK_SLACK = timedelta(minutes=1)  # between the clock of whoever tells when the server failed, and the server's


@dataclass(frozen=True, slots=True)
class FailureMoment:
    """When the simulated failure happened."""

    at: datetime
    is_server_clock: bool
    is_told: bool = False  # by the operator, who knows when the server was lost

    def __str__(self) -> str:
        if self.is_told:
            return "the moment of failure that was told"
        return f"moment of the drill by {'the server' if self.is_server_clock else 'this host'}'s clock"


@dataclass(frozen=True, slots=True)
class Rpo:
    """A measured recovery point."""

    seconds: float
    proven_until: datetime
    failure: FailureMoment
    source: str  # what proves it, for people

    @property
    def doubt(self) -> str | None:
        """Why the figure says nothing: what is proven is later than the failure, which only a wrong clock explains."""
        ahead = self.proven_until - self.failure.at
        if ahead <= CLOCK_SLACK:
            return None
        behind = say_seconds(ahead.total_seconds())
        return f"not known: {self.failure} is {behind} behind {self.source}, so one of the clocks is wrong"

    def to_json(self) -> dict[str, Any]:
        """Return it for machines, with how it was measured."""
        return {
            "seconds": round(self.seconds, 3),
            "is_upper_bound": True,
            "proven_until": iso(self.proven_until),
            "proven_by": self.source,
            "failure_at": iso(self.failure.at),
            "method": f"{self.failure}, less the latest instant the copy proves to hold everything of",
        }


def begun_at(manifest: Manifest) -> datetime | None:
    """Return a moment before which all that was committed is in a backup and its WAL; None for that of a standby."""
    return None if manifest.is_from_standby else manifest.started_at


def measure_rpo(
    failure: FailureMoment,
    *,
    backup_started_at: datetime | None,
    last_commit_at: datetime | None,
    idle_until: datetime | None,
) -> Rpo | None:
    """Return the RPO of a copy out of what is proven: the last commit that was replayed, and idle time behind it.

    `backup_started_at` is None for a backup of a standby, which may have lagged then; None is returned where nothing
    else is proven either.

    Raises DrillNotRun as `require_failed_then` does.
    """
    proofs = [] if backup_started_at is None else [(backup_started_at, "the backup's start")]
    if last_commit_at is not None:
        proofs.append((last_commit_at, "the last replayed commit"))
    if idle_until is not None:
        proofs.append((idle_until, "an idle watermark"))
    if not proofs:
        return None
    proven_until, source = max(proofs)
    require_failed_then(failure, proven_until, source)
    return Rpo(max(0.0, (failure.at - proven_until).total_seconds()), proven_until, failure, source)


def require_failed_then(failure: FailureMoment, proven_until: datetime, source: str) -> None:
    """Raise DrillNotRun for a failure that the server outlived: what was stored since then would count as saved."""
    if failure.is_told and proven_until > failure.at + CLOCK_SLACK:
        raise DrillNotRun(
            f"the server did not fail at {iso(failure.at)}: {source} is of {iso(proven_until)}, later than that",
            hint="Say --failed-at with the time when the server was lost, or leave it out.",
        )
