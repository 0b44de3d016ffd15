"""Every metric: its name, and which figures of which findings it is made of. This table and nothing else.

    finding "WAL lag", figure "seconds"  ──>  pgvault_wal_lag_seconds{cluster="main"}

All are gauges. Ages are exported as instants, in Unix seconds: whoever reads them knows the present time better than
who wrote them, and a value that nobody renews grows old by itself. 0 says that we looked and there never was one, so
that an alert on its age fires; what is not known is absent, which is an alert of its own.
"""

from __future__ import annotations

from math import inf

from pgvault.metrics.metric import CLUSTER, Combine, Metric, Source
from pgvault.monitor.finding import Level
from pgvault.repository.drilled import Outcome

LOST = {"lost": 1.0, "unreserved": 1.0, "reserved": 0.0, "extended": 0.0}
FALSE, TRUE = 0.0, 1.0
RED = frozenset({Level.RED})


def _one(name: str, help_text: str, finding: str, figure: str, *labels: str, if_none: float | None = None) -> Metric:
    return Metric(name, help_text, (Source(finding, figure, if_none=if_none),), labels)


def _logical_too(name: str, help_text: str, figure: str, *, if_none: float | None = None) -> Metric:
    """Of the backup that counts, and of the logical and schema ones beside it."""
    beside = (
        Source("logical backup", figure, if_none=if_none, fixed={"kind": "logical"}),
        Source("schema backup", figure, if_none=if_none, fixed={"kind": "schema"}),
    )
    return Metric(name, help_text, (Source("backup", figure, if_none=if_none), *beside), ("kind",))


def _by_lane(name: str, help_text: str, figure: str) -> Metric:
    sources = (
        Source("copy_lag", f"wal_{figure}", fixed={"lane": "wal"}),
        Source("copy_lag", f"backup_{figure}", fixed={"lane": "backups"}),
    )
    return Metric(name, help_text, sources, ("copy", "lane"))


BACKUPS = (
    _logical_too(
        "pgvault_backup_last_start_timestamp_seconds", "When the newest backup of a kind began; 0: never.", "started_at"
    ),
    _logical_too(
        "pgvault_backup_last_end_timestamp_seconds", "When the newest backup of a kind ended; 0: never.", "stopped_at"
    ),
    _logical_too("pgvault_backup_duration_seconds", "How long the newest backup of a kind took.", "duration_seconds"),
    _logical_too("pgvault_backups", "Committed backups of a kind.", "count"),
    _one(
        "pgvault_copy_backup_last_timestamp_seconds",
        "When the newest backup ended that a copy holds; 0: it holds none.",
        "copy_backup",
        "last_at",
        "copy",
        "kind",
        if_none=0.0,
    ),
    _one(
        "pgvault_backup_newest_timestamp_seconds",
        "When the newest backup ended that counts: a physical one, else a logical one; 0: never.",
        "backup",
        "stopped_at",
    ),
    _one(
        "pgvault_backup_stale",
        "1: that backup is too old by its objective, its schedule or, without both, a day; 0: it is not.",
        "backup",
        "is_stale",
    ),
    _one("pgvault_backup_size_bytes", "Size of what the newest physical backup holds.", "backups", "size_bytes"),
    _one("pgvault_backup_stored_bytes", "What the newest physical backup stored.", "backups", "stored_bytes"),
    _one("pgvault_backups_aborted", "Labels of backups that failed and said so.", "backups", "aborted"),
    _one("pgvault_backups_unfinished", "Labels of backups under way, or killed.", "backups", "unfinished"),
    _one(
        "pgvault_backup_page_checksum_errors",
        "Pages of the newest physical backup whose checksum is wrong.",
        "backups",
        "bad_pages",
    ),
    _one(
        "pgvault_backup_success_ratio",
        "Slots of the last 30 days in which the scheduled backup was committed, of all.",
        "success_rate",
        "rate",
        "kind",
    ),
    _one("pgvault_backup_slots", "Slots of the last 30 days that are over.", "success_rate", "slots", "kind"),
    _one(
        "pgvault_backup_last_slot_done",
        "1: the scheduled backup of the newest slot that is over was committed, 0: it was not.",
        "success_rate",
        "is_last_done",
        "kind",
    ),
    _one("pgvault_backup_slots_failed", "Those without a backup.", "success_rate", "failed", "kind"),
    _one(
        "pgvault_backup_anomaly",
        "1: a measure of the newest backup of a kind is off from those before it; measure is empty where none is.",
        "anomaly",
        "anomalous",
        "kind",
        "measure",
    ),
    _one(
        "pgvault_backup_suspicious",
        "1: such a measure may mean that something is gone or can not be read; "
        "0: it is more than usual, or nothing is off.",
        "anomaly",
        "suspicious",
        "kind",
        "measure",
    ),
    _one(
        "pgvault_backup_deviation_ratio",
        "By how much such a measure is off from the usual.",
        "anomaly",
        "off_share",
        "kind",
        "measure",
    ),
    _one("pgvault_schedule_next_timestamp_seconds", "When a job should run next.", "schedule", "next_slot_at", "kind"),
    _one(
        "pgvault_schedule_last_slot_timestamp_seconds",
        "When a job should have run last.",
        "schedule",
        "last_slot_at",
        "kind",
    ),
)
WAL = (
    _one("pgvault_wal_lag_bytes", "WAL that is not stored; +Inf: without bound.", "WAL lag", "bytes", if_none=inf),
    _one(
        "pgvault_wal_lag_seconds",
        "Age of the oldest commit that may not be stored; +Inf: without bound.",
        "WAL lag",
        "seconds",
        if_none=inf,
    ),
    _one("pgvault_wal_lag_limit_seconds", "What that age may be.", "WAL lag", "limit_seconds"),
    _one(
        "pgvault_wal_last_segment_timestamp_seconds",
        "Last write of the newest WAL that is stored; 0: none is.",
        "last segment",
        "written_at",
    ),
    Metric(
        "pgvault_wal_gaps",
        "Gaps in the stored WAL that moments are lost in.",
        (Source("gap", levels=RED), Source("gap", constant=0.0), Source("gaps", constant=0.0)),
        combine=Combine.SUM,
    ),
    _one(
        "pgvault_recovery_window_begin_timestamp_seconds",
        "Since when every moment can be restored, but for gaps.",
        "window",
        "begins_at",
    ),
    _one(
        "pgvault_pg_wal_here",
        "Whether the pg_wal of the server can be looked at from where metrics are collected.",
        "pg_wal disk",
        "is_here",
    ),
    _one("pgvault_pg_wal_free_bytes", "Room in the file system of pg_wal.", "pg_wal disk", "free_bytes"),
    _one("pgvault_pg_wal_size_bytes", "Size of the file system of pg_wal.", "pg_wal disk", "total_bytes"),
    _one("pgvault_pg_wal_ready_files", "Files that wait for the archiver.", "pg_wal disk", "ready_count"),
    _one("pgvault_pg_wal_ready_bytes", "Bytes of those.", "pg_wal disk", "ready_bytes"),
    _one(
        "pgvault_pg_wal_full_seconds",
        "How long that room lasts at the present pace if archiving stopped.",
        "pg_wal disk",
        "seconds_until_full",
    ),
    Metric(
        "pgvault_slot_active",
        "Whether somebody receives WAL by the replication slot.",
        (Source("slot", "is_active"),),
    ),
    Metric(
        "pgvault_slot_lost", "Whether the slot is lost or about to be.", (Source("slot", "wal_status", words=LOST),)
    ),
    _one("pgvault_slot_kept_bytes", "WAL that the slot keeps in pg_wal.", "slot", "kept_bytes"),
    _one(
        "pgvault_slot_safe_bytes", "WAL until the slot is lost; absent where nothing limits it.", "slot", "safe_bytes"
    ),
    Metric(
        "pgvault_data_loss_since_timestamp_seconds",
        "Since when everything would be lost, with logical backups only; 0: everything.",
        (Source("data loss", "snapshot_at", fixed={"class": ""}), Source("class *", "snapshot_at")),
        ("class",),
    ),
)
COPIES = (
    Metric(
        "pgvault_copy_up",
        "Whether a copy of the repository was read.",
        (Source("reading", constant=FALSE), Source("verify", constant=TRUE)),
        ("copy",),
    ),
    _by_lane("pgvault_copy_lag_seconds", "For how long a copy has lacked what the first one has.", "seconds"),
    _by_lane("pgvault_copy_lag_limit_seconds", "How long that may be.", "limit_seconds"),
    _one("pgvault_copy_lag_bytes", "What a copy lacks.", "copy_lag", "bytes", "copy"),
    _one("pgvault_copy_lag_objects", "How many objects a copy lacks.", "copy_lag", "objects", "copy"),
    _one(
        "pgvault_copy_different_objects",
        "Objects that are damaged, or lost in one of both copies.",
        "copy_lag",
        "different",
        "copy",
    ),
    _one(
        "pgvault_verify_last_timestamp_seconds",
        "When a backup was last read back whole or not, in a copy; 0: never.",
        "verify",
        "at",
        "copy",
    ),
    _one(
        "pgvault_verify_last_success_timestamp_seconds",
        "When a backup was last found whole in a copy; 0: never.",
        "verify",
        "passed_at",
        "copy",
        if_none=0.0,
    ),
    _one(
        "pgvault_verify_damaged_backups",
        "Backups that were damaged in a copy when they were last read back there.",
        "verify",
        "damaged_backups",
        "copy",
    ),
    Metric(
        "pgvault_damaged_objects",
        "Objects that a copy lacked or held damaged just now, and that came from elsewhere.",
        (
            Source("damage", "missing", fixed={"state": "missing"}),
            Source("damage", "damaged", fixed={"state": "damaged"}),
            Source("verify", constant=0.0, fixed={"state": "missing"}),
            Source("verify", constant=0.0, fixed={"state": "damaged"}),
        ),
        ("copy", "state"),
        Combine.SUM,
    ),
    _one(
        "pgvault_unlocked_objects",
        "Objects of the newest backup's commit that the store does not lock, where it should.",
        "object_lock",
        "unlocked",
        "copy",
    ),
)
PROOFS = (
    _one(
        "pgvault_drill_last_run_timestamp_seconds",
        "When the newest drill began that could run; 0: never.",
        "drill",
        "last_run_at",
        if_none=0.0,
    ),
    _one(
        "pgvault_drill_last_attempt_timestamp_seconds",
        "When the newest drill began, whether it could run or not; 0: never.",
        "drill",
        "last_tried_at",
        if_none=0.0,
    ),
    _one(
        "pgvault_drill_last_success_timestamp_seconds",
        "When the newest drill began that passed; 0: never.",
        "drill",
        "last_passed_at",
        if_none=0.0,
    ),
    Metric(
        "pgvault_drill_outcome",
        "1 for how the newest drill that could run ended, 0 for the other outcomes.",
        tuple(
            Source(
                "drill",
                "outcome",
                words={str(each): float(each is outcome) for each in Outcome},
                fixed={"outcome": str(outcome)},
            )
            for outcome in (Outcome.PASSED, Outcome.MISSED, Outcome.FAILED)
        ),
        ("outcome",),
    ),
    _one(
        "pgvault_drill_could_not_run",
        "Drills since the newest one that ran, which could not.",
        "drill",
        "could_not_run",
    ),
    _one("pgvault_drill_rto_seconds", "RTO that the newest drill measured.", "drill", "last_rto_seconds"),
    _one("pgvault_drill_rpo_seconds", "RPO that the newest drill measured.", "drill", "last_rpo_seconds"),
    _one(
        "pgvault_key_escrow_proven_timestamp_seconds",
        "When a drill last passed by the escrow sheet of the present key; 0: never.",
        "escrow",
        "proven_at",
    ),
    _one(
        "pgvault_objective_kept",
        "1: an objective is kept, 0: it is missed; absent where that is not known.",
        "objective",
        "is_kept",
        "objective",
        "class",
    ),
)
CHECK_LABELS = ("check", "severity", "where")
CHECKS = (
    _one(
        "data_integrity_check_failures",
        "1: the last run of a check failed or could not look, 0: it passed.",
        "check",
        "failures",
        *CHECK_LABELS,
    ),
    _one(
        "pgvault_check_last_run_timestamp_seconds",
        "When a check ran last in that place; 0: never.",
        "check",
        "at",
        *CHECK_LABELS,
    ),
    _one(
        "pgvault_check_overdue",
        "1: a check never ran in that place, or not when its schedule said; 0: it did.",
        "check",
        "is_overdue",
        *CHECK_LABELS,
    ),
    _one("pgvault_check_measured", "What the check measured.", "check", "measured", *CHECK_LABELS),
    _one("pgvault_check_threshold", "What it may measure.", "check", "threshold", *CHECK_LABELS),
)
METRICS: tuple[Metric, ...] = (*BACKUPS, *WAL, *COPIES, *PROOFS, *CHECKS)

# Those that no figure of a finding gives: name, help, labels.
FINDING_LEVEL = (
    "pgvault_finding_level",
    "How a thing is that pgvault status looks at: 0 well, 1 somebody should look or not known, 2 broken.",
    (CLUSTER, "finding", "copy"),
)
CLUSTER_LEVEL = ("pgvault_cluster_level", "The worst of a cluster's finding levels.", (CLUSTER,))
OBJECTIVE_SECONDS = (
    "pgvault_objective_seconds",
    "What the configuration promises of a cluster.",
    (CLUSTER, "objective"),
)
OBJECTIVE_RATIO = ("pgvault_objective_ratio", "Promised shares.", (CLUSTER, "objective"))
CLASS_OBJECTIVE_SECONDS = (
    "pgvault_class_objective_seconds",
    "What the configuration promises of a data class.",
    (CLUSTER, "class", "objective"),
)
COLLECTED_AT = (
    "pgvault_metrics_collected_timestamp_seconds",
    "When these values were collected; 0: not yet.",
    (),
)
COLLECTION_SECONDS = ("pgvault_metrics_collection_seconds", "How long that took.", ())
COLLECTION_FAILED = (
    "pgvault_metrics_collection_failed",
    "1: the last collection failed, or its values were too old to be shown.",
    (),
)
WATCHED = (
    "pgvault_watched",
    "1 for everything that a cluster is configured to have, whether it can be seen or not.",
    (CLUSTER, "what"),
)
BUILD_INFO = ("pgvault_build_info", "Which pgvault this is.", ("version",))
OTHERS = (
    FINDING_LEVEL,
    CLUSTER_LEVEL,
    OBJECTIVE_SECONDS,
    OBJECTIVE_RATIO,
    CLASS_OBJECTIVE_SECONDS,
    COLLECTED_AT,
    COLLECTION_SECONDS,
    COLLECTION_FAILED,
    WATCHED,
    BUILD_INFO,
)


def all_names() -> dict[str, tuple[str, ...]]:
    """Return the labels of every metric there is, by name."""
    return {each.name: (CLUSTER, *each.labels) for each in METRICS} | {name: labels for name, _, labels in OTHERS}
