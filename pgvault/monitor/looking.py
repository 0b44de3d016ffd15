"""What `status` looks at in the repository, for every kind of cluster: one line here for each look.

A look reads what the copies hold and yields findings, with the figures that metrics, alerts and the report show; it
never asks the server and never writes. What a look can not know is a warning that begins with "unknown". A look that
finds nothing to judge because nothing ever happened says so, and is not green: see `finding`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from itertools import chain
from typing import Any

from pgvault.config import AlertsConfig, ClusterConfig
from pgvault.errors import PgvaultError
from pgvault.monitor.anomalystatus import judge_backups
from pgvault.monitor.auditstatus import look_at_audit
from pgvault.monitor.checkstatus import Expected, look_at_checks
from pgvault.monitor.copybackups import judge_copy_backups, look_at_copy_backups
from pgvault.monitor.copylag import judge_copies, look_at_copies
from pgvault.monitor.drillstatus import look_at_drills
from pgvault.monitor.finding import Finding, warn
from pgvault.monitor.keystatus import look_at_escrow
from pgvault.monitor.lockstatus import look_at_locks
from pgvault.monitor.notifier import judge_routes, look_at_notifier
from pgvault.monitor.reading import judge_reading
from pgvault.monitor.schedulestatus import first_recorded, tell_rates
from pgvault.monitor.takenbackups import tell_backups
from pgvault.monitor.verifystatus import look_at_verified
from pgvault.repository.catalog import Catalog, read_catalog
from pgvault.repository.drillreports import read_reports, report_ids
from pgvault.repository.repository import Repository

REPORTS_READ = 16  # of drills, the newest
PROOFS_READ = 400  # of drills, until one is found that the escrow sheet opened


@dataclass(frozen=True)  # no slots: what several looks read is read once, and kept beside the fields
class Watched:
    """One cluster, and where to look for it."""

    repository: Repository
    cluster: str
    config: ClusterConfig
    now: datetime  # this host's clock
    alerts: AlertsConfig | None = None  # who is told; None: nobody
    zone: str = "UTC"  # that schedules are read in
    signers: Mapping[str, str] = field(default_factory=dict)  # whose audit entries count: public keys, by name

    @cached_property
    def catalog(self) -> Catalog:
        """Its backups. Raises what reading a store raises."""
        return read_catalog(self.repository, self.cluster)

    @cached_property
    def drill_ids(self) -> list[str]:
        """The ids of all drills whose report is stored, newest first. Raises what reading a store raises."""
        return report_ids(self.repository, self.cluster)

    @cached_property
    def drill_reports(self) -> tuple[Mapping[str, Any], ...]:
        """The newest reports of drills that open, newest first. Raises what reading a store raises."""
        return tuple(read_reports(self.repository, self.cluster, self.drill_ids[:REPORTS_READ]))

    def older_drill_reports(self) -> Iterator[Mapping[str, Any]]:
        """Yield those before them, newest first, read a few at a time. Raises what reading a store raises."""
        for start in range(REPORTS_READ, min(len(self.drill_ids), PROOFS_READ), REPORTS_READ):
            yield from read_reports(self.repository, self.cluster, self.drill_ids[start : start + REPORTS_READ])


def _copies(watched: Watched) -> Iterable[Finding]:
    return judge_copies(look_at_copies(watched.repository, watched.cluster, now=watched.now))


def _drills(watched: Watched) -> Iterable[Finding]:
    reports = watched.drill_reports
    return look_at_drills(watched.config, reports, is_empty=not watched.drill_ids, now=watched.now)


def _anomalies(watched: Watched) -> Iterable[Finding]:
    return judge_backups(watched.catalog.roots, watched.config.anomaly, now=watched.now)


def _backups(watched: Watched) -> Iterable[Finding]:
    yield tell_backups(watched.catalog)


def _verified(watched: Watched) -> Iterable[Finding]:
    labels = [root.label for root in watched.catalog.roots]
    return look_at_verified(watched.repository, watched.cluster, labels, now=watched.now)


def _checks(watched: Watched) -> Iterable[Finding]:
    config = watched.config
    expected = Expected(config.checks, watched.now, config.schedule.checks, watched.zone)
    return look_at_checks(watched.repository, watched.cluster, expected, watched.drill_reports)


def _escrow(watched: Watched) -> Iterable[Finding]:
    reports = chain(watched.drill_reports, watched.older_drill_reports())
    return look_at_escrow(watched.repository, reports, now=watched.now)


def _locks(watched: Watched) -> Iterable[Finding]:
    return look_at_locks(watched.repository, watched.catalog, now=watched.now)


def _notifier(watched: Watched) -> Iterable[Finding]:
    if watched.alerts is not None:
        yield from judge_routes(watched.config.checks, watched.alerts)
        yield look_at_notifier(watched.repository, watched.cluster, now=watched.now)


def _copy_backups(watched: Watched) -> Iterable[Finding]:
    found = look_at_copy_backups(watched.repository, watched.cluster, watched.catalog)
    return judge_copy_backups(found, watched.catalog, now=watched.now)


def _slots(watched: Watched) -> Iterable[Finding]:
    first = first_recorded(watched.repository, watched.cluster)
    return tell_rates(watched.config, watched.catalog, first, zone=watched.zone, now=watched.now)


FAILED_LOOK = "failed_look"  # a figure: what that look would have found does not show


def _audit(watched: Watched) -> Iterable[Finding]:
    return look_at_audit(watched.repository, watched.signers, now=watched.now)


LOOKS: dict[str, Callable[[Watched], Iterable[Finding]]] = {  # by the name of what is unknown where a look fails
    "success_rate": _slots,
    "copy_backup": _copy_backups,
    "copy_lag": _copies,
    "drill": _drills,
    "notifier": _notifier,
    "anomaly": _anomalies,
    "backups": _backups,
    "verify": _verified,
    "object_lock": _locks,
    "checks": _checks,
    "escrow": _escrow,
    "audit": _audit,
}


def look_all(watched: Watched) -> Iterator[Finding]:
    """Yield what all looks find, and last how the repository could be read by them."""
    for name, each in LOOKS.items():
        try:
            yield from each(watched)
        except PgvaultError as error:
            yield warn(name, f"unknown: {error}", {FAILED_LOOK: True})
    yield from judge_reading(watched.repository)
