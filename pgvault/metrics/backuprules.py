"""The alert rules about backups, WAL and where it waits.

Usual limits, where a cluster promises none of its own, are those that people expect: a backup a day, in half an hour.
"""

from __future__ import annotations

from pgvault.metrics.rule import OBJECTIVE, OBJECTIVE_RATIO, SAME, Rule, Severity, above

CRITICAL, WARNING = Severity.CRITICAL, Severity.WARNING
HOUR, DAY = 3600, 86400
NEWEST = "pgvault_backup_newest_timestamp_seconds"
LAST_SEGMENT = "pgvault_wal_last_segment_timestamp_seconds"
SUSPICIOUS = "pgvault_backup_suspicious == 1"
PROMISED = f'{OBJECTIVE}{{objective="backup_age"}}'
# Without a promise the schedule says what is too old, which only status can read: a weekly backup is not, after a day.
TOO_OLD = (
    f"(time() - {NEWEST} > {SAME} group_left () {PROMISED}) or "
    f"(time() - {NEWEST} > {DAY} unless {SAME} {PROMISED} unless {SAME} (pgvault_backup_stale == 0))"
)

BACKUPS = (
    Rule(
        alert="PgvaultBackupTooOld",
        expr=TOO_OLD,
        metric=NEWEST,
        watched="backup",
        severity=CRITICAL,
        lasting="5m",
        summary=(
            "The newest backup of cluster {cluster} is older than promised: a restore takes longer by the "
            "day, and rests on more WAL."
        ),
        description="The newest backup ended: {ago}.",
    ),
    Rule(
        alert="PgvaultBackupNeverTaken",
        expr=f"{NEWEST} == 0",
        metric=NEWEST,
        watched="backup",
        severity=CRITICAL,
        lasting="15m",
        summary="No backup of cluster {cluster} was ever committed: if its server is lost, so is everything in it.",
        description="It is configured, and the repository holds no backup of it.",
    ),
    Rule(
        alert="PgvaultBackupFailed",
        expr="pgvault_backup_last_slot_done == 0",
        metric="pgvault_backup_last_slot_done",
        watched="schedule",
        severity=WARNING,
        lasting="5m",
        summary=(
            "The last scheduled {kind} of cluster {cluster} left nothing behind: it failed, was killed or never began."
        ),
        description="Nothing was committed for the newest slot of its schedule.",
        explained="pgvault_backup_slots == 0",
    ),
    Rule(
        alert="PgvaultBackupTooSlow",
        expr=above("pgvault_backup_duration_seconds", "backup_duration", HOUR // 2),
        metric="pgvault_backup_duration_seconds",
        watched="backup",
        severity=WARNING,
        lasting="5m",
        summary=(
            "The newest {kind} backup of cluster {cluster} took longer than promised: soon the next may not "
            "be done in time."
        ),
        description="It took {duration}.",
        explained=f"{NEWEST} == 0",
    ),
    Rule(
        alert="PgvaultBackupAnomalous",
        expr=SUSPICIOUS,
        metric="pgvault_backup_suspicious",
        watched="backup",
        severity=CRITICAL,
        lasting="1m",
        summary=(
            "A recent {kind} backup of cluster {cluster} is unlike those before it ({measure}): "
            "data may have been lost or encrypted, and the backup with it."
        ),
        description="It is far off the median of the last seven in: {measure}.",
        explained=f"{NEWEST} == 0",
    ),
    Rule(
        alert="PgvaultBackupGrown",
        expr=f"pgvault_backup_anomaly == 1 unless on (cluster, instance, job, kind, measure) ({SUSPICIOUS})",
        metric="pgvault_backup_anomaly",
        watched="backup",
        severity=WARNING,
        lasting="1m",
        summary=(
            "A recent {kind} backup of cluster {cluster} is unlike those before it ({measure}): "
            "nothing is lost, but room and time may run out."
        ),
        description="It is more than usual by far, in: {measure}.",
        explained=f"{NEWEST} == 0",
    ),
    Rule(
        alert="PgvaultBackupSuccessRateLow",
        expr=f'pgvault_backup_success_ratio < {SAME} group_left () {OBJECTIVE_RATIO}{{objective="success_rate"}}',
        metric="pgvault_backup_success_ratio",
        watched="schedule",
        severity=WARNING,
        lasting="15m",
        summary=(
            "Fewer runs of the {kind} of cluster {cluster} than promised left one behind in 30 days: the "
            "next may fail, too."
        ),
        description="{percentage} of the scheduled backups were committed.",
        explained="pgvault_backup_slots == 0",
    ),
    Rule(
        alert="PgvaultPageChecksumErrors",
        expr="pgvault_backup_page_checksum_errors > 0",
        metric="pgvault_backup_page_checksum_errors",
        watched="wal",
        severity=CRITICAL,
        lasting="1m",
        summary=(
            "Pages of cluster {cluster} itself are damaged: rows are lost already, and newer backups hold the damage."
        ),
        description="The newest backup read {value} pages whose checksum is wrong.",
        explained=f"{NEWEST} == 0",
    ),
)

WAL = (
    Rule(
        alert="PgvaultWalLagTooHigh",
        expr=f"pgvault_wal_lag_seconds > {SAME} pgvault_wal_lag_limit_seconds",
        metric="pgvault_wal_lag_seconds",
        watched="wal",
        severity=CRITICAL,
        lasting="5m",
        summary=(
            "Commits of cluster {cluster} are stored later than promised: if the server were lost now, they "
            "would be, too."
        ),
        description="What is not stored yet is {duration} old.",
    ),
    Rule(
        alert="PgvaultWalNeverStored",
        expr=f"{LAST_SEGMENT} == 0",
        metric=LAST_SEGMENT,
        watched="wal",
        severity=CRITICAL,
        lasting="15m",
        summary="No WAL of cluster {cluster} was ever stored: no point in time can be restored.",
        description="It is configured, and the repository holds no WAL of it.",
    ),
    Rule(
        alert="PgvaultWalGap",
        expr="pgvault_wal_gaps > 0",
        metric="pgvault_wal_gaps",
        watched="wal",
        severity=CRITICAL,
        lasting="1m",
        summary="WAL of cluster {cluster} is missing: moments behind the gap can not be restored.",
        description="{value} gaps are in what is stored.",
        explained=f"({NEWEST} == 0) or ({LAST_SEGMENT} == 0)",
    ),
    Rule(
        alert="PgvaultPgWalFilling",
        expr=(
            f"(pgvault_pg_wal_full_seconds < {4 * HOUR}) or (pgvault_pg_wal_free_bytes / "
            f"pgvault_pg_wal_size_bytes < 0.1)"
        ),
        metric="pgvault_pg_wal_free_bytes",
        watched="pg_wal",
        severity=CRITICAL,
        lasting="5m",
        summary="pg_wal of cluster {cluster} is running full: when it is, the server stops.",
        description=(
            "It would be full within 4 hours if archiving stopped, or less than a tenth of its file system is free."
        ),
        explained="pgvault_pg_wal_here == 0",  # collected on another host: its own exporter has to tell
    ),
    Rule(
        alert="PgvaultSlotNearLoss",
        expr=(
            "(pgvault_slot_lost == 1) or "
            "(pgvault_slot_safe_bytes / (pgvault_slot_safe_bytes + pgvault_slot_kept_bytes) < 0.2)"
        ),
        metric="pgvault_slot_lost",
        watched="slot",
        severity=CRITICAL,
        lasting="1m",
        summary=(
            "The slot that streams WAL of cluster {cluster} is lost or about to be: the server removes WAL "
            "that is not stored yet."
        ),
        description="It is lost, or has used four fifths of what max_slot_wal_keep_size allows.",
    ),
    Rule(
        alert="PgvaultSlotInactive",
        expr="pgvault_slot_active == 0",
        metric="pgvault_slot_active",
        watched="slot",
        severity=CRITICAL,
        lasting="10m",
        summary="Nobody receives the WAL of cluster {cluster}: commits are not stored, and pg_wal grows.",
        description="Its replication slot is inactive.",
    ),
)
