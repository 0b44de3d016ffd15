"""Every alert rule, in the order in which they are printed, and those that watch the watching."""

from __future__ import annotations

from pgvault.metrics.backuprules import BACKUPS, WAL
from pgvault.metrics.proofrules import COPIES, PROOF, VERIFYING
from pgvault.metrics.rule import WATCHED, Rule, Severity

CRITICAL = Severity.CRITICAL

STATUS = (
    Rule(
        alert="PgvaultNotifierSilent",
        expr='pgvault_finding_level{finding="notifier"} == 2',
        metric='pgvault_finding_level{finding="notifier"}',
        watched="notifier",
        severity=CRITICAL,
        lasting="5m",
        summary="pgvault's own alerts about cluster {cluster} are not sent: whoever relies on them hears nothing.",
        description="pgvault alert run has left no notice of itself for too long.",
    ),
    Rule(
        alert="PgvaultFindingRed",
        expr="pgvault_finding_level == 2",
        metric="pgvault_finding_level",
        watched="backup",
        severity=CRITICAL,
        lasting="15m",
        summary="{finding} of cluster {cluster} is broken, and with it the protection of its data.",
        description="pgvault status shows it in red, and says why in one sentence.",
    ),
)

RULES = (*BACKUPS, *WAL, *COPIES, *VERIFYING, *PROOF, *STATUS)

COLLECTED = "pgvault_metrics_collected_timestamp_seconds"
NOBODY_LOOKS = "whatever breaks now, nobody hears of it."

# About the metrics as a whole: without a cluster that could be named, and the first is the twin of the other two.
WHOLE = (
    Rule(
        alert="PgvaultMetricsAbsent",
        expr=f"(absent({WATCHED}) or absent({COLLECTED}))",
        metric=WATCHED,
        watched="backup",
        severity=CRITICAL,
        lasting="5m",
        summary="No metrics of pgvault are there: " + NOBODY_LOOKS,
        description="pgvault metrics serve is not scraped, or its textfile or push is gone.",
    ),
    Rule(
        alert="PgvaultMetricsStale",
        expr=f"(time() - {COLLECTED} > 900) or (pgvault_metrics_collection_failed == 1)",
        metric=COLLECTED,
        watched="backup",
        severity=CRITICAL,
        lasting="5m",
        summary="The metrics of pgvault on {instance} tell of the past: " + NOBODY_LOOKS,
        description="They were collected more than 15 minutes ago, or the last collection failed.",
    ),
    Rule(
        alert="PgvaultClusterVanished",
        expr=f'last_over_time({WATCHED}{{what="backup"}}[1d]) unless on (cluster, job) {WATCHED}',
        metric=WATCHED,
        watched="backup",
        severity=CRITICAL,
        lasting="15m",
        summary="Metrics of cluster {cluster} were there within the last day and are gone: " + NOBODY_LOOKS,
        description="Silence this for a day if the cluster was taken out of the configuration on purpose.",
    ),
)
