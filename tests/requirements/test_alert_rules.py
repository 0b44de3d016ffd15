"""Alerts that customers have and page on: the rule they wrote themselves, and what each of their triggers is here."""

from __future__ import annotations

import pytest
import yaml

from pgvault.metrics.rules import rule_file

ALERTS = {alert["alert"]: alert for group in yaml.safe_load(rule_file())["groups"] for alert in group["rules"]}

TRIGGERS = {
    "backup verification failed": "PgvaultVerifyFailed",
    "schema check failed": "DataInconsistencyDetected",
    "storage failure": "PgvaultCopyUnreachable",
    "replication failure": "PgvaultCopyLagTooHigh",
    "unexpected data patterns": "PgvaultBackupAnomalous",
    "backup too old": "PgvaultBackupTooOld",
}


def test_their_rule_is_there() -> None:
    """`DataInconsistencyDetected`: `data_integrity_check_failures > 0` for 5 minutes."""
    theirs = ALERTS["DataInconsistencyDetected"]

    assert (theirs["expr"], theirs["for"]) == ("data_integrity_check_failures > 0", "5m")


@pytest.mark.parametrize("trigger", TRIGGERS)
def test_what_they_page_on_pages(trigger: str) -> None:
    """Each trigger is an alert of its own; a check's severity says whom it pages."""
    assert ALERTS[TRIGGERS[trigger]]["labels"]["severity"] in {"critical", "{{ $labels.severity }}"}
