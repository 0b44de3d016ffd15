"""Objectives held against what other findings measured."""

from __future__ import annotations

import pytest

from pgvault.config import Objectives
from pgvault.monitor.finding import Finding, Level, ok, red, warn
from pgvault.monitor.objectivestatus import MEASURED, judge_objectives

BACKUP = ok("backup", "", {"count": 3, "age_seconds": 3600.0, "duration_seconds": 1800.0})
LAG = ok("WAL lag", "", {"seconds": 600.0})
RATES = (ok("success_rate", "", {"rate": 1.0}), ok("success_rate", "", {"rate": 0.9}))
COPIES = (ok("copy_lag", "", {"seconds": 5.0}), ok("copy_lag", "", {"seconds": 7200.0}))
DRILL = warn("drill", "", {"count": 2, "age_seconds": 86400.0, "rto_seconds": 60.0, "last_rto_seconds": 90.0})


@pytest.mark.parametrize(
    ("objective", "findings", "level", "detail", "measured"),
    [
        ({"rto": "90s"}, [DRILL], Level.OK, "rto: 90 s, promised 90 s", 90),
        ({"rto": "89s"}, [DRILL], Level.RED, "rto: 90 s, promised 89 s", 90),
        ({"rto": "4h"}, [warn("drill", "", {"count": 0})], Level.WARN, "rto: unknown, no drill has measured it", None),
        ({"rpo": "15m"}, [LAG], Level.OK, "rpo: 10 min, promised 15 min", 600),
        ({"rpo": "5m"}, [ok("data loss", "", {"seconds": 301.0})], Level.RED, "rpo: 5 min", 301),
        ({"rpo": "5m"}, [red("WAL lag", "", {"seconds": None})], Level.WARN, "rpo: unknown", None),
        ({"archive_lag": "5m"}, [LAG], Level.RED, "archive_lag: 10 min, promised 5 min", 600),
        ({"backup_age": "24h"}, [BACKUP], Level.OK, "backup_age: 60 min, promised 24.0 h", 3600),
        ({"backup_age": "24h"}, [red("backup", "", {"count": 0})], Level.RED, "there is no backup", None),
        ({"backup_age": "24h"}, [red("repository", "gone")], Level.WARN, "backup_age: unknown", None),
        ({"backup_duration": "30m"}, [BACKUP], Level.OK, "backup_duration: 30 min, promised 30 min", 1800),
        ({"backup_duration": "29m"}, [BACKUP], Level.RED, "backup_duration: 30 min, promised 29 min", 1800),
        ({"copy_lag": "1h"}, [*COPIES], Level.RED, "copy_lag: 2.0 h, promised 60 min", 7200),
        ({"copy_lag": "1h"}, [], Level.WARN, "copy_lag: unknown", None),
        ({"drill_age": "31d"}, [DRILL], Level.OK, "drill_age: 24.0 h, promised 31 days", 86400),
        ({"drill_age": "31d"}, [warn("drill", "", {"count": 0})], Level.RED, "drill_age: never drilled", None),
        ({"drill_age": "31d"}, [warn("drill", "unknown")], Level.WARN, "drill_age: unknown", None),
        ({"success_rate": "99.9%"}, [*RATES], Level.RED, "success_rate: 90.000 %, promised 99.900 %", 0.9),
        ({"success_rate": "90%"}, [*RATES], Level.OK, "success_rate: 90.000 %", 0.9),
        ({"success_rate": "99%"}, [warn("success_rate", "", {"rate": None})], Level.WARN, "unknown, no slot", None),
    ],
)
def test_every_objective_has_a_finding(
    objective: dict[str, str], findings: list[Finding], level: Level, detail: str, measured: float | None
) -> None:
    """Kept, broken or not known; of several measures the worst counts, and what was never done is broken."""
    (found,) = judge_objectives(Objectives.model_validate(objective), findings)

    assert (found.level, detail in found.detail) == (level, True), found.detail
    assert (found.figures["objective"], found.figures["measured"]) == (*objective, measured)
    is_kept = {Level.OK: True, Level.RED: False, Level.WARN: None}[level]
    assert (found.figures["is_kept"], found.hint is not None) == (is_kept, level is Level.RED)


def test_there_is_a_measure_for_every_objective() -> None:
    """One that is added to the configuration is not judged by nothing; what was not promised has no finding."""
    assert set(MEASURED) == set(Objectives.model_fields)
    assert list(judge_objectives(Objectives(), [BACKUP, LAG, DRILL])) == []
