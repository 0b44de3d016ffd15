"""All that a drill looks at once the restored server answers, in order; each result goes into the report."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from pgvault.checks.measure import run_check
from pgvault.checks.query import Moment
from pgvault.checks.result import CheckResult, NotTested, Origin, unproven
from pgvault.config import AnyCheck, CrossSystemCheck
from pgvault.drill.looks.amcheck import amcheck
from pgvault.drill.looks.derived import derived
from pgvault.drill.looks.inventory import inventory
from pgvault.drill.looks.libraries import libraries
from pgvault.drill.looks.migrations import migrations
from pgvault.drill.looks.schema import schema
from pgvault.drill.looks.sequences import sequences
from pgvault.drill.looks.sourcepages import source_pages
from pgvault.drill.looks.unseen import unseen
from pgvault.drill.looks.validity import validity
from pgvault.drill.report import DrillReport
from pgvault.drill.restored import Restored

Look = Callable[[Restored], Iterable[CheckResult | NotTested]]

# The definitions are looked at before pg_amcheck installs its extension, the inventory before anything is written.
LOOKS: tuple[Look, ...] = (
    source_pages,
    schema,
    inventory,
    libraries,
    amcheck,
    validity,
    derived,
    sequences,
    migrations,
    unseen,
)


def look(report: DrillReport, restored: Restored, checks: Sequence[AnyCheck]) -> None:
    """Take every look, then run the configured checks. Raises nothing for what is found."""
    for each in LOOKS:
        for found in each(restored):
            if isinstance(found, NotTested):
                report.not_tested.append(found.what)
            else:
                report.add(found)
    run_checks(report, restored, checks)


def run_checks(report: DrillReport, restored: Restored, checks: Sequence[AnyCheck]) -> None:
    """Run the configured checks, of the moment that was restored to."""
    moment = Moment(restored.as_of, is_restored=True)
    for check in checks:
        database = check.database or restored.database
        if restored.is_blind and isinstance(check, CrossSystemCheck) and check.asks_another_server:
            why = "only one copy may be touched, and no other server is asked"
            asked = unproven(check.name, why, severity=check.severity)
            report.add(replace(asked, origin=Origin.CONFIGURED, database=database))
            continue
        report.add(run_check(restored.dsn, check, database=database, moment=moment))
    if not checks:
        report.not_tested.insert(0, "integrity queries: none are configured")
