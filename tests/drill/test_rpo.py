from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from pgvault.drill.rpo import FailureMoment, measure_rpo

BACKUP = datetime(2026, 1, 15, 10, 0, tzinfo=UTC)
FAILURE = FailureMoment(BACKUP + timedelta(hours=1), is_server_clock=True)


@pytest.mark.parametrize(
    ("commit", "idle", "until", "source"),
    [
        (None, None, 0, "the backup's start"),
        (-5, None, 0, "the backup's start"),
        (20, None, 20, "the last replayed commit"),
        (20, 10, 20, "the last replayed commit"),
        (20, 55, 55, "an idle watermark"),
        (None, 55, 55, "an idle watermark"),
    ],
)
def test_the_latest_proof_counts(commit: int | None, idle: int | None, until: int, source: str) -> None:
    """RPO is the moment of failure less the latest of what is proven."""
    rpo = measure_rpo(
        FAILURE,
        backup_started_at=BACKUP,
        last_commit_at=None if commit is None else BACKUP + timedelta(minutes=commit),
        idle_until=None if idle is None else BACKUP + timedelta(minutes=idle),
    )

    assert rpo is not None
    assert rpo.proven_until == BACKUP + timedelta(minutes=until)
    assert rpo.seconds == (60 - until) * 60
    assert rpo.source == source


def test_it_is_never_negative() -> None:
    """A commit later than our clock says is no negative loss."""
    late = FAILURE.at + timedelta(seconds=3)

    rpo = measure_rpo(FAILURE, backup_started_at=BACKUP, last_commit_at=late, idle_until=None)

    assert rpo is not None
    assert rpo.seconds == 0
    assert rpo.doubt is None


def test_a_clock_that_is_behind_makes_no_loss_small() -> None:
    """A commit of an hour after "now" says that now is another time, not that nothing was lost."""
    failure = FailureMoment(FAILURE.at, is_server_clock=False)
    late = FAILURE.at + timedelta(hours=1)

    rpo = measure_rpo(failure, backup_started_at=BACKUP, last_commit_at=late, idle_until=None)

    assert rpo is not None
    assert rpo.doubt is not None
    assert "this host's clock is 1h" in rpo.doubt.replace(" 0m", "").replace("1 h", "1h")


@pytest.mark.parametrize(("is_server", "clock"), [(True, "the server's clock"), (False, "this host's clock")])
def test_it_says_how_it_was_measured(is_server: bool, clock: str) -> None:
    """An upper bound, by which clock, proven by what."""
    failure = FailureMoment(FAILURE.at, is_server_clock=is_server)

    rpo = measure_rpo(failure, backup_started_at=BACKUP, last_commit_at=None, idle_until=None)

    assert rpo is not None
    document = rpo.to_json()
    assert document["is_upper_bound"] is True
    assert clock in document["method"]
    assert (document["seconds"], document["proven_until"]) == (3600, "2026-01-15T10:00:00+00:00")
    assert document["proven_by"] == "the backup's start"


def test_the_start_of_a_standbys_backup_proves_nothing() -> None:
    """It may have lagged: without a commit or an idle moment behind it, nothing is known, and no figure is made up."""
    late = BACKUP + timedelta(minutes=20)

    assert measure_rpo(FAILURE, backup_started_at=None, last_commit_at=None, idle_until=None) is None
    rpo = measure_rpo(FAILURE, backup_started_at=None, last_commit_at=late, idle_until=None)
    assert rpo is not None
    assert rpo.proven_until == late
