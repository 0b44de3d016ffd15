from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pgvault.cli.drillfacts import copy_lag, failure_moment
from pgvault.cli.opening import make_source, open_cluster
from pgvault.errors import StoreUnreachable, TargetInvalid, UsageError
from pgvault.mirror.behind import Behind
from pgvault.mirror.plan import Lane
from pgvault.monitor.copylag import CopyFact
from tests.archive import make_archive
from tests.cli.here import pgvault

LEVEL = Behind(0, 0, None)


def test_the_copy_that_is_furthest_behind_counts() -> None:
    """Of both lanes."""
    facts = (
        CopyFact("near", {Lane.WAL: Behind(2, 10, 30.0), Lane.BACKUPS: LEVEL}, {}),
        CopyFact("far", {Lane.WAL: LEVEL, Lane.BACKUPS: Behind(9, 99, 7200.0)}, {}),
    )

    assert copy_lag(facts).seconds == 7200
    assert copy_lag(facts).note.startswith("far")


@pytest.mark.parametrize(
    ("facts", "why"),
    [
        ((), "there is no further copy"),
        ((CopyFact("dr", StoreUnreachable("it is away"), {}),), "dr: it is away"),
        (
            (CopyFact("dr", {Lane.WAL: Behind(3, 10, None)}, {}),),
            "dr: it lacks 3 objects of wal, nobody knows how long",
        ),
    ],
)
def test_a_lag_that_is_not_known_is_none(facts: tuple[CopyFact, ...], why: str) -> None:
    """Neither kept nor missed."""
    assert (copy_lag(facts).seconds, copy_lag(facts).note) == (None, why)


def test_the_failure_is_when_it_was_told_to_be(tmp_path: Path) -> None:
    """In the configured zone, by nobody's clock; a moment still to come is refused."""
    opened = open_cluster(make_source(make_archive(tmp_path).config), "main")
    now = datetime.now(UTC)

    told = failure_moment(opened, "2025-10-25T10:00:07.5")

    assert (told.at, told.is_told) == (datetime(2025, 10, 25, 10, 0, 7, 500000, tzinfo=UTC), True)
    for hour in (1, 24 * 365):
        with pytest.raises(UsageError, match="--failed-at"):
            failure_moment(opened, (now + timedelta(hours=hour)).isoformat())
    with pytest.raises(TargetInvalid):
        failure_moment(opened, "when it went dark")


@pytest.mark.parametrize("words", [("--to", "10 minutes ago"), ("--logical", "20260115T103000Z-f7c2")])
def test_a_failure_goes_with_the_latest_moment(tmp_path: Path, words: tuple[str, str]) -> None:
    """What would be lost is measured at the end of the WAL."""
    config = make_archive(tmp_path).config

    finished = pgvault("--config", config, "drill", "--failed-at", "1 minute ago", *words)

    assert finished.status == UsageError.exit_code
    assert "--failed-at needs the latest moment" in finished.errors
