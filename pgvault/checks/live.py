"""Run checks on a live server, one after the other, and tell what they found.

Nothing is written, one connection is open at a time, and no check waits for a lock for longer than a few seconds: what
is held up is not proven (session.py). A failed check is a finding about the data; a server that does not answer any
more is none, so what it interrupted is not proven, and the run says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import psycopg
from psycopg.conninfo import make_conninfo

from pgvault.checks.measure import run_check
from pgvault.checks.result import CheckResult, Verdict, unproven
from pgvault.config import AnyCheck
from pgvault.errors import CheckFailed, ConfigInvalid, ServerUnfit, ServerUnreachable, UsageError
from pgvault.instants import Clock, iso
from pgvault.postgres.connection import open_connection
from pgvault.progress import Progress

SERVER = """
SELECT pg_catalog.pg_is_in_recovery(),
    extract(epoch FROM pg_catalog.clock_timestamp() - pg_catalog.pg_last_xact_replay_timestamp())::float8,
    pg_catalog.pg_last_wal_receive_lsn() IS NOT DISTINCT FROM pg_catalog.pg_last_wal_replay_lsn()
"""


@dataclass(frozen=True, slots=True)
class LiveServer:
    """What the server that was asked is, at the moment it was asked."""

    is_replica: bool
    replayed_seconds: float | None = None  # since the last commit that a replica has replayed; None: not known
    has_replayed_all: bool = True  # all WAL that it has received

    def __str__(self) -> str:
        if not self.is_replica:
            return "the primary"
        if self.replayed_seconds is None:
            return "a replica; how far it is behind is not known"
        waits = "" if self.has_replayed_all else ", and has received more than it has replayed"
        return f"a replica: its last replayed commit is {self.replayed_seconds:.1f} s old{waits}"


@dataclass(slots=True)
class LiveRun:
    """One run of checks on a live server; filled as it goes on."""

    id: str
    cluster: str
    started_at: datetime
    server: LiveServer
    results: list[CheckResult] = field(default_factory=list)
    error: ServerUnreachable | None = None  # what ended the run early
    notes: list[str] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        """Whether every check that stops something has looked and found all right; without any there is no pass."""
        is_right = not (self.failed or self.unproven) and self.error is None
        return is_right and any(result.passed for result in self.results)

    @property
    def failed(self) -> list[CheckResult]:
        """The checks that failed, and are not only told."""
        return [result for result in self.results if result.failed and result.is_blocking]

    @property
    def unproven(self) -> list[CheckResult]:
        """The checks that could not look, and are not only told."""
        return [result for result in self.results if result.verdict is Verdict.UNPROVEN and result.is_blocking]

    @property
    def warnings(self) -> list[str]:
        """What is only told: severities that stop nothing."""
        told = [result for result in self.results if not result.passed and not result.is_blocking]
        return [f"check {result.name!r}: {result.detail}" for result in told]

    def require_passed(self) -> None:
        """Raise CheckFailed, ServerUnreachable, or ServerUnfit for what could not be proven, unless all passed."""
        if self.failed:
            first, *others = self.failed
            more = f" (and {len(others)} more)" if others else ""
            raise CheckFailed(f"check {first.name!r}: {first.detail}{more}")
        if self.error is not None:
            raise self.error
        if not self.passed:
            first = (self.unproven or self.results)[0]
            raise ServerUnfit(f"check {first.name!r}: {first.detail}", hint="It says nothing about the data.")

    def to_json(self) -> dict[str, Any]:
        """Return the document that is printed and stored."""
        return {
            "checks": 1,
            "id": self.id,
            "cluster": self.cluster,
            "where": "live",
            "passed": self.passed,
            "started_at": iso(self.started_at),
            "replica": self.server.is_replica,
            "replayed_seconds": self.server.replayed_seconds,
            "failed": [result.name for result in self.failed],
            "unproven": [result.name for result in self.unproven],
            "warnings": self.warnings,
            "error": None if self.error is None else str(self.error),
            "results": [result.to_json() for result in self.results],
            "notes": self.notes,
        }


def chosen_checks(checks: Sequence[AnyCheck], names: Sequence[str]) -> list[AnyCheck]:
    """Return the named checks, or all. Raises UsageError for a name that is none, ConfigInvalid without any check."""
    if not checks:
        raise ConfigInvalid(
            "no checks are configured, so nothing would be proven", hint="Write some under `checks:` of the cluster."
        )
    known = [check.name for check in checks]
    if unknown := [name for name in names if name not in known]:
        raise UsageError(f"check {unknown[0]!r} is not configured", hint="Known: " + ", ".join(known))
    return [check for check in checks if not names or check.name in names]


def look_at(dsn: str) -> LiveServer:
    """Ask what server this is. Raises ServerUnreachable, ConfigInvalid."""
    with open_connection(dsn) as connection:
        row = connection.execute(SERVER.encode()).fetchone()
    assert row is not None
    is_replica, seconds, has_replayed_all = row
    return LiveServer(bool(is_replica), None if seconds is None else float(str(seconds)), bool(has_replayed_all))


def run_live(
    run: LiveRun, dsn: str, checks: Sequence[AnyCheck], *, progress: Progress, database: str | None = None
) -> None:
    """Run checks, in `database`, else that of the dsn, where they name none; the results go into `run`."""
    for check in checks:
        progress.phase(check.name)
        result = run_check(dsn, check, database=check.database or database)
        if run.error is None and result.failed and result.measured is None:
            run.error = _silence(dsn)
        if run.error is not None and not result.passed:
            result = unproven(check.name, "the server does not answer", severity=check.severity)
        run.results.append(result)


def with_password(dsn: str, password: str | None) -> str:
    """Return a dsn together with its password, where that is kept elsewhere. Raises ConfigInvalid."""
    try:
        return dsn if password is None else make_conninfo(dsn, password=password)
    except psycopg.Error:
        # Its message quotes the text, which may hold a secret.
        raise ConfigInvalid("the dsn is neither 'key=value …' nor a postgresql:// address") from None


def make_run(run_id: str, cluster: str, dsn: str, *, clock: Clock) -> LiveRun:
    """Begin a run. Raises ServerUnreachable, ConfigInvalid."""
    return LiveRun(run_id, cluster, clock.now(), look_at(dsn))


def _silence(dsn: str) -> ServerUnreachable | None:
    """Return why the server does not answer; None where it does, so that what failed is the check's own."""
    try:
        look_at(dsn)
    except ServerUnreachable as error:
        return error
    return None
