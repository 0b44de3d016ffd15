"""Every panel of the dashboard, row by row, in the order of questions: is it well, and what does that rest on.

Expressions keep instance and job, so that clusters of one name in two repositories are never mistaken for each other.
"""

from __future__ import annotations

from pgvault.metrics.backuppanels import BACKUPS, RECOVERY, WAL
from pgvault.metrics.panel import Ask, Kind, Panel, Scale, of, since
from pgvault.metrics.proofpanels import COPIES, INTEGRITY, PROOF
from pgvault.metrics.rule import OBJECTIVE, SAME
from pgvault.metrics.scales import (
    AGE_WEEK,
    BAD,
    DAY,
    DOUBT,
    GOOD,
    LEVEL,
    NONE_IS_GOOD,
    SHARE,
)

AGE = since(of("pgvault_backup_newest_timestamp_seconds"))
AGE_PROMISED = of(OBJECTIVE, 'objective="backup_age"')
# As the alert rule has it: of what is promised, else of a day.
AGE_SHARE = f"({AGE}) / {SAME} {AGE_PROMISED} or (({AGE}) / {DAY} unless {SAME} {AGE_PROMISED})"
DRILLED = of("pgvault_drill_last_success_timestamp_seconds")
BESIDE = of("pgvault_finding_level", 'finding=~"audit|clock|escrow|key.*|notifier"')

GLANCE = (
    Panel(
        title="State",
        kind=Kind.STAT,
        asks=(Ask(of("pgvault_cluster_level")),),
        unit="none",
        told="The worst that `pgvault status` finds of a cluster. What it is stands in the findings below.",
        alert="PgvaultFindingRed",
        scale=LEVEL,
        width=6,
        height=6,
    ),
    Panel(
        title="Newest backup, of the age that is promised",
        kind=Kind.BARS,
        asks=(Ask(AGE_SHARE),),
        unit="percentunit",
        told="Age of the newest backup that counts, as a share of `backup_age`; of a day where none is promised.",
        alert="PgvaultBackupTooOld",
        scale=SHARE,
        width=6,
        height=6,
    ),
    Panel(
        title="Last drill that passed",
        kind=Kind.STAT,
        asks=(Ask(since(DRILLED)),),
        unit="s",
        told="How long ago a restore was last proven. Decades: never.",
        alert="PgvaultDrillTooOld",
        scale=AGE_WEEK,
        width=6,
        height=6,
    ),
    Panel(
        title="Integrity failures",
        kind=Kind.STAT,
        asks=(Ask(f"sum by (cluster, instance, job) ({of('data_integrity_check_failures')})"),),
        unit="none",
        told="Checks of the data whose last run failed or could not look. Nothing known: none ever ran.",
        alert="DataInconsistencyDetected",
        scale=NONE_IS_GOOD,
        width=6,
        height=6,
        watched="checks",
    ),
)
FINDINGS = (
    Panel(
        title="Findings",
        kind=Kind.TABLE,
        asks=(Ask(f"sort_desc({of('pgvault_finding_level')})"),),
        unit="none",
        told="Everything that `pgvault status` looks at, the worst first. The sentences are in `pgvault status`.",
        alert="PgvaultFindingRed",
        scale=LEVEL,
        width=12,
        height=12,
        names={"cluster": "Cluster", "finding": "Finding", "copy": "Copy", "Value": "State"},
    ),
    Panel(
        title="Audit, keys and notifier",
        kind=Kind.STATES,
        asks=(Ask(BESIDE, "{{cluster}} {{finding}}"),),
        unit="none",
        told="Whether what was done is on record, the key is safe, and whoever should hear of trouble would.",
        alert="PgvaultNotifierSilent",
        scale=LEVEL,
        width=12,
        height=12,
    ),
)
WATCHING = (
    Panel(
        title="Collected",
        kind=Kind.STAT,
        asks=(Ask(since("pgvault_metrics_collected_timestamp_seconds"), "{{instance}}"),),
        unit="s",
        told="How long ago each exporter looked. Old values are no news.",
        alert="PgvaultMetricsStale",
        scale=Scale(((None, GOOD), (300, DOUBT), (900, BAD))),
    ),
    Panel(
        title="Collections that failed",
        kind=Kind.STATES,
        asks=(Ask("pgvault_metrics_collection_failed", "{{instance}}"),),
        unit="none",
        told="Whether the last collection of each exporter failed.",
        alert="PgvaultMetricsStale",
        scale=Scale(((None, GOOD), (1, BAD)), {0: ("well", GOOD), 1: ("failed", BAD)}),
    ),
    Panel(
        title="Collecting took",
        kind=Kind.SERIES,
        asks=(Ask("pgvault_metrics_collection_seconds", "{{instance}}"),),
        unit="s",
        told="How long it took: mostly the stores.",
    ),
)
ROWS = (
    ("At a glance", GLANCE),
    ("Recovery window", RECOVERY),
    ("Backups", BACKUPS),
    ("WAL", WAL),
    ("Copies", COPIES),
    ("Proof by drills", PROOF),
    ("Integrity", INTEGRITY),
    ("Findings", FINDINGS),
    ("Watching the watching", WATCHING),
)
