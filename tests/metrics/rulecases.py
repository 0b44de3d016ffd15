"""What each alert rule must see and must not see: series of made-up clusters, by rule.

Instants lie before 0, since in promtool's tests the time begins there: -90000 is 25 hours ago, and 0 is "never".
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

HOUR, DAY = 3600, 86400
Series = Mapping[str, float]  # values by name and labels, without that of the cluster


@dataclass(frozen=True, slots=True)
class Case:
    """Clusters for which a rule fires, and clusters for which it is silent."""

    fires: Mapping[str, Series]
    silent: Mapping[str, Series]


def simple(series: str, bad: float, good: float) -> Case:
    """A rule that looks at one series alone."""
    return Case({"bad": {series: bad}}, {"good": {series: good}})


def promised(name: str, seconds: float) -> Series:
    return {f'pgvault_objective_seconds{{objective="{name}"}}': seconds}


def aged(series: str, objective: str, usual: float) -> Case:
    """A timestamp that has a limit of its own or the usual one."""
    return Case(
        {
            "late": {series: -usual},
            "late by its own": {series: -usual / 2, **promised(objective, usual / 4)},
            "never": {series: 0, **promised(objective, 60)},
        },
        {
            "good": {series: -usual / 2},
            "late but by its own": {series: -usual * 2, **promised(objective, usual * 4)},
            "late by another's": {series: -usual / 2, **promised("rto", 60)},
        },
    )


NEWEST, STALE = "pgvault_backup_newest_timestamp_seconds", "pgvault_backup_stale"
OFF, SUSPICIOUS = (f'pgvault_backup_{each}{{kind="full",measure="size"}}' for each in ("anomaly", "suspicious"))
SLOW = 'pgvault_backup_duration_seconds{kind="full"}'
SAFE, KEPT, LOST = "pgvault_slot_safe_bytes", "pgvault_slot_kept_bytes", "pgvault_slot_lost"
FREE, SIZE, FULL = "pgvault_pg_wal_free_bytes", "pgvault_pg_wal_size_bytes", "pgvault_pg_wal_full_seconds"
LAG, LIMIT = "pgvault_wal_lag_seconds", "pgvault_wal_lag_limit_seconds"
COPY_LAG, COPY_LIMIT = (f'pgvault_copy_lag_{each}{{copy="second",lane="wal"}}' for each in ("seconds", "limit_seconds"))
BACKUPS_LIMIT = 'pgvault_copy_lag_limit_seconds{copy="second",lane="backups"}'
RATIO, PROMISED_RATIO = 'pgvault_backup_success_ratio{kind="full"}', 'pgvault_objective_ratio{objective="success_rate"}'
CHECK = 'data_integrity_check_failures{check="orphans",severity="high",where="live"}'


def with_schedule(case: Case) -> Case:
    """Without a promise the schedule counts, which only status can read; nothing takes a promise back."""
    return Case(
        {
            **case.fires,
            "late by its schedule": {NEWEST: -DAY, STALE: 1},
            "late as promised": {NEWEST: -DAY, STALE: 0, **promised("backup_age", HOUR)},
        },
        {**case.silent, "weekly": {NEWEST: -3 * DAY, STALE: 0}},
    )


CASES: Mapping[str, Case] = {
    "PgvaultBackupTooOld": with_schedule(aged(NEWEST, "backup_age", DAY)),
    "PgvaultBackupNeverTaken": simple("pgvault_backup_newest_timestamp_seconds", 0, -HOUR),
    "PgvaultBackupFailed": simple('pgvault_backup_last_slot_done{kind="full"}', 0, 1),
    "PgvaultBackupTooSlow": Case(
        {"bad": {SLOW: HOUR}, "by its own": {SLOW: 61, **promised("backup_duration", 60)}},
        {"good": {SLOW: 1799}, "but by its own": {SLOW: HOUR, **promised("backup_duration", HOUR)}},
    ),
    "PgvaultBackupAnomalous": simple(SUSPICIOUS, 1, 0),
    "PgvaultBackupGrown": Case(
        {"grown": {OFF: 1, SUSPICIOUS: 0}}, {"good": {OFF: 0}, "shrunk": {OFF: 1, SUSPICIOUS: 1}}
    ),
    "PgvaultBackupSuccessRateLow": Case(
        {"bad": {RATIO: 0.96, PROMISED_RATIO: 0.999}},
        {"good": {RATIO: 1, PROMISED_RATIO: 0.999}, "not promised": {RATIO: 0.96}},
    ),
    "PgvaultPageChecksumErrors": simple("pgvault_backup_page_checksum_errors", 1, 0),
    "PgvaultWalLagTooHigh": Case(
        {"bad": {LAG: 901, LIMIT: 900}, "unbounded": {LAG: float("inf"), LIMIT: 900}},
        {"good": {LAG: 899, LIMIT: 900}, "patient": {LAG: 901, LIMIT: 3600}},
    ),
    "PgvaultWalNeverStored": simple("pgvault_wal_last_segment_timestamp_seconds", 0, -7 * DAY),
    "PgvaultWalGap": simple("pgvault_wal_gaps", 1, 0),
    "PgvaultPgWalFilling": Case(
        {"soon": {FREE: 50, SIZE: 100, FULL: 3 * HOUR}, "small": {FREE: 9, SIZE: 100}},
        {"good": {FREE: 50, SIZE: 100, FULL: 5 * HOUR}, "idle": {FREE: 50, SIZE: 100}},
    ),
    "PgvaultSlotNearLoss": Case(
        {"gone": {LOST: 1}, "near": {LOST: 0, SAFE: 1, KEPT: 9}},
        {"good": {LOST: 0, SAFE: 9, KEPT: 1}, "unlimited": {LOST: 0, KEPT: 9}},
    ),
    "PgvaultSlotInactive": simple("pgvault_slot_active", 0, 1),
    "PgvaultCopyUnreachable": simple('pgvault_copy_up{copy="second"}', 0, 1),
    "PgvaultCopyLagTooHigh": Case(
        {"bad": {COPY_LAG: 901, COPY_LIMIT: 900}},
        {"good": {COPY_LAG: 899, COPY_LIMIT: 900}, "another lane's": {COPY_LAG: 901, BACKUPS_LIMIT: 60}},
    ),
    "PgvaultCopyDiffers": simple('pgvault_copy_different_objects{copy="second"}', 1, 0),
    "PgvaultVerifyFailed": simple('pgvault_verify_damaged_backups{copy="second"}', 1, 0),
    "PgvaultVerifyTooOld": simple(
        'pgvault_verify_last_success_timestamp_seconds{copy="second"}', -8 * DAY, -7 * DAY + HOUR
    ),
    "PgvaultObjectsRepaired": simple('pgvault_damaged_objects{copy="second",state="missing"}', 1, 0),
    "PgvaultObjectsUnlocked": simple('pgvault_unlocked_objects{copy="second"}', 1, 0),
    "PgvaultDrillFailed": simple('pgvault_drill_outcome{outcome="passed"}', 0, 1),
    "PgvaultDrillTooOld": aged("pgvault_drill_last_success_timestamp_seconds", "drill_age", 31 * DAY),
    "PgvaultDrillCouldNotRun": simple("pgvault_drill_could_not_run", 1, 0),
    "DataInconsistencyDetected": simple(CHECK, 1, 0),
    "PgvaultCheckNotRun": simple('pgvault_check_overdue{check="orphans",severity="high",where="live"}', 1, 0),
    "PgvaultKeyNeverProven": simple("pgvault_key_escrow_proven_timestamp_seconds", 0, -300 * DAY),
    "PgvaultNotifierSilent": simple('pgvault_finding_level{finding="notifier"}', 2, 0),
    "PgvaultFindingRed": Case(
        {"bad": {'pgvault_finding_level{finding="forks"}': 2}},
        {"good": {'pgvault_finding_level{finding="forks"}': 1}},
    ),
}
