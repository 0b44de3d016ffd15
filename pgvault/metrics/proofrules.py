"""The alert rules about what proves that a backup can be restored: copies, verifying, drills, checks, the key.

Usual limits, where a cluster promises none of its own, are those that people expect: everything read back in a week, a
drill a month.
"""

from __future__ import annotations

from pgvault.metrics.rule import Rule, Severity, older

CRITICAL, WARNING = Severity.CRITICAL, Severity.WARNING
DAY = 86400
DRILLED = "pgvault_drill_last_run_timestamp_seconds"

COPIES = (
    Rule(
        alert="PgvaultCopyUnreachable",
        expr="pgvault_copy_up == 0",
        metric="pgvault_copy_up",
        watched="backup",
        severity=CRITICAL,
        lasting="10m",
        summary=(
            "The copy {copy} that should protect cluster {cluster} can not be read: what it holds may not be there."
        ),
        description="The copy did not answer, or is no repository.",
    ),
    Rule(
        alert="PgvaultCopyLagTooHigh",
        expr="pgvault_copy_lag_seconds > on (cluster, instance, job, copy, lane) pgvault_copy_lag_limit_seconds",
        metric="pgvault_copy_lag_seconds",
        watched="copy",
        severity=CRITICAL,
        lasting="10m",
        summary="The copy {copy} lacks {lane} of cluster {cluster}: if the first copy were lost, so would be that.",
        description="The oldest of what is missing there: {duration}.",
    ),
    Rule(
        alert="PgvaultCopyDiffers",
        expr="pgvault_copy_different_objects > 0",
        metric="pgvault_copy_different_objects",
        watched="copy",
        severity=CRITICAL,
        lasting="10m",
        summary=(
            "The copy {copy} of cluster {cluster} differs from the first: one of both is damaged or was tampered with."
        ),
        description="{value} objects are damaged or lost in one of both.",
    ),
)

VERIFYING = (
    Rule(
        alert="PgvaultVerifyFailed",
        expr="pgvault_verify_damaged_backups > 0",
        metric="pgvault_verify_damaged_backups",
        watched="verify",
        severity=CRITICAL,
        lasting="1m",
        summary="Backups of cluster {cluster} in the copy {copy} are damaged: they may not restore.",
        description="{value} backups were not whole when they were last read back.",
    ),
    Rule(
        alert="PgvaultVerifyTooOld",
        expr=f"time() - pgvault_verify_last_success_timestamp_seconds > {8 * DAY}",
        metric="pgvault_verify_last_success_timestamp_seconds",
        watched="verify",
        severity=WARNING,
        lasting="1h",
        summary=(
            "No backup of cluster {cluster} was read back from the copy {copy} for a week: damage there goes unseen."
        ),
        description="A backup was last found whole: {ago}.",
    ),
    Rule(
        alert="PgvaultObjectsRepaired",
        expr="pgvault_damaged_objects > 0",
        metric="pgvault_damaged_objects",
        watched="backup",
        severity=WARNING,
        lasting="1m",
        summary=(
            "Objects of cluster {cluster} were {state} in the copy {copy} and read from another: "
            "where the next is damaged in every copy, a backup is lost."
        ),
        description="{value} objects had to come from another copy.",
    ),
    Rule(
        alert="PgvaultObjectsUnlocked",
        expr="pgvault_unlocked_objects > 0",
        metric="pgvault_unlocked_objects",
        watched="locks",
        severity=WARNING,
        lasting="15m",
        summary=(
            "Objects of cluster {cluster} in the copy {copy} are not locked: whoever holds its credentials "
            "can delete them."
        ),
        description="{value} objects lack the lock that the configuration asks for.",
    ),
)

PROOF = (
    Rule(
        alert="PgvaultDrillFailed",
        expr='pgvault_drill_outcome{outcome="passed"} == 0',
        metric='pgvault_drill_outcome{outcome="passed"}',
        watched="drill",
        severity=CRITICAL,
        lasting="1m",
        summary="The last drill of cluster {cluster} failed: its backups do not restore to what was promised.",
        description="It restored a backup, and the result was not what it should be.",
        explained=f"{DRILLED} == 0",
    ),
    Rule(
        alert="PgvaultDrillTooOld",
        expr=older("pgvault_drill_last_success_timestamp_seconds", "drill_age", 31 * DAY),
        metric="pgvault_drill_last_success_timestamp_seconds",
        watched="drill",
        severity=WARNING,
        lasting="1h",
        summary=(
            "No drill of cluster {cluster} has passed for too long: nobody knows whether its backups still restore."
        ),
        description="A drill last passed: {ago}.",
    ),
    Rule(
        alert="PgvaultDrillCouldNotRun",
        expr="pgvault_drill_could_not_run > 0",
        metric="pgvault_drill_could_not_run",
        watched="drill",
        severity=WARNING,
        lasting="1m",
        summary=(
            "The last drill of cluster {cluster} could not run: it proves nothing, and the proof that there "
            "is gets older."
        ),
        description="{value} drills in a row came to no verdict about the backup.",
    ),
    Rule(
        alert="DataInconsistencyDetected",
        expr="data_integrity_check_failures > 0",
        metric="data_integrity_check_failures",
        watched="checks",
        is_severity_its_own=True,
        severity=CRITICAL,
        lasting="5m",
        summary=(
            "The data of cluster {cluster} ({where}) breaks the check {check}: "
            "what users and other systems read may be wrong, and every new backup holds it."
        ),
        description="The check failed, or could not be measured.",
    ),
    Rule(
        alert="PgvaultCheckNotRun",
        expr="pgvault_check_overdue == 1",
        metric="pgvault_check_overdue",
        watched="checks",
        severity=WARNING,
        lasting="1h",
        summary=(
            "The check {check} of cluster {cluster} ({where}) does not run: its data may have been wrong for long, "
            "and what it found last still shows."
        ),
        description="It never ran there, or not when its schedule said.",
    ),
    Rule(
        alert="PgvaultKeyNeverProven",
        expr="pgvault_key_escrow_proven_timestamp_seconds == 0",
        metric="pgvault_key_escrow_proven_timestamp_seconds",
        watched="escrow",
        severity=WARNING,
        lasting="1h",
        summary=(
            "Nobody has proven that the escrow sheet opens the backups of cluster {cluster}: with the key's "
            "host, all may be lost."
        ),
        description="No drill has passed with the sheet alone since the key was made or changed.",
    ),
)
