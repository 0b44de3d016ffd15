"""Choose of what `status` finds what is a usual mistake, or comes of one. Nothing is judged anew."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from pgvault.monitor.finding import Finding, Level

# Told also where they are well: what was never done shows here first.
ALWAYS = (
    "repository",
    "archiving",
    "archiver",
    "slot",
    "pg_wal disk",
    "backup",
    "verify",
    "drill",
    "escrow",
    "notifier",
)
# How things are at this moment, which is for `status` and its alerts; and what doctor looks at by itself.
LEFT_OUT = ("WAL lag", "anomaly", "backups", "data loss", "objective", "schedule", "server", "success_rate")
OF_CLASS = "class "


def choose(findings: Iterable[Finding]) -> Iterator[Finding]:
    """Yield the findings that are for doctor."""
    for each in findings:
        if each.name in LEFT_OUT or each.name.startswith(OF_CLASS):
            continue
        if each.level is not Level.OK or each.name in ALWAYS:
            yield each
