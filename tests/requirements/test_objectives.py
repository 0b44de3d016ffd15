"""The figures that customers were promised, as objectives and data classes of the configuration, and judged as such."""

from __future__ import annotations

from datetime import timedelta

import pytest
from pydantic import ValidationError

from pgvault.config import ClassConfig, Objectives

PROMISED = {
    "rpo": "15m",
    "rto": "4h",
    "backup_age": "24h",
    "backup_duration": "30m",
    "archive_lag": "15m",
    "copy_lag": "1h",
    "drill_age": "31d",
    "success_rate": "99.9%",
}


def test_every_figure_can_be_written_down() -> None:
    """RPO, RTO, age and duration of backups, how often they succeed, drills at least monthly, a second region."""
    found = Objectives.model_validate(PROMISED)

    assert (found.rpo, found.rto) == (timedelta(minutes=15), timedelta(hours=4))
    assert (found.backup_age, found.backup_duration) == (timedelta(days=1), timedelta(minutes=30))
    assert (found.archive_lag, found.copy_lag) == (timedelta(minutes=15), timedelta(hours=1))
    assert found.drill_age == timedelta(days=31)
    assert found.success_rate == pytest.approx(0.999)


@pytest.mark.parametrize("share", ["99.9", "0%", "101%", "often", -1])
def test_a_success_rate_is_a_share(share: object) -> None:
    """99.9 without its sign is refused: nothing can succeed more often than always."""
    with pytest.raises(ValidationError, match=r"write 99\.9% or 0\.999"):
        Objectives.model_validate({"success_rate": share})


@pytest.mark.parametrize(
    ("said", "cron"),
    [("hourly", "0 * * * *"), ("daily", "0 1 * * *"), ("weekly", "0 2 * * 0"), ("monthly", "0 3 1 * *")],
)
def test_a_class_says_its_schedule_in_a_word(said: str, cron: str) -> None:
    """As `backup:` or `logical:`; a cron expression stays what it is."""
    for field in ("backup", "logical"):
        assert ClassConfig.model_validate({"tables": ["users"], field: said}).backup == cron
        assert ClassConfig.model_validate({"tables": ["users"], field: "5 4 * * *"}).backup == "5 4 * * *"
    with pytest.raises(ValidationError):
        ClassConfig.model_validate({"tables": ["users"], "backup": said, "logical": said})
