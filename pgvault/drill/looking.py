"""All that a drill looks at once the restored server answers, in order; each result goes into the report."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from pgvault.checks.measure import run_check
from pgvault.checks.result import CheckResult, NotTested
from pgvault.config import CheckConfig
from pgvault.drill.looks.amcheck import amcheck
from pgvault.drill.looks.sourcepages import source_pages
from pgvault.drill.report import DrillReport
from pgvault.drill.restored import Restored

Look = Callable[[Restored], Iterable[CheckResult | NotTested]]

LOOKS: tuple[Look, ...] = (source_pages, amcheck)


def look(report: DrillReport, restored: Restored, checks: Sequence[CheckConfig]) -> None:
    """Take every look, then run the configured checks. Raises nothing for what is found."""
    for each in LOOKS:
        for found in each(restored):
            if isinstance(found, NotTested):
                report.not_tested.append(found.what)
            else:
                report.checks.append(found)
    run_checks(report, restored.dsn, checks, database=restored.database)


def run_checks(report: DrillReport, dsn: str, checks: Sequence[CheckConfig], *, database: str) -> None:
    """Run the configured checks, in `database` where they name none."""
    for check in checks:
        report.checks.append(run_check(dsn, check, database=check.database or database))
    if not checks:
        report.not_tested.insert(0, "integrity queries: none are configured")
