"""Whether what should be locked is: the version that readers see, in a real S3 server."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pgvault.monitor.finding import Level
from pgvault.monitor.lockstatus import LockFact, judge_locks, read_locks
from pgvault.repository.copies import Copy
from pgvault.stores.base import ObjectLock
from pgvault.stores.s3 import S3Store, open_s3
from tests.s3servers import Versitygw
from tests.stores.conftest import BRIEF

NOW = datetime(2026, 1, 15, 10, 30, tzinfo=UTC)
LABEL = "20260115T010000Z-0001"
LATER = NOW + timedelta(days=3)


@pytest.mark.parametrize(
    ("untils", "level", "unlocked"),
    [
        ([LATER, LATER + timedelta(days=1)], Level.OK, 0),
        ([LATER, None], Level.RED, 1),
        ([NOW, NOW - timedelta(days=1)], Level.RED, 2),  # over
        ([], Level.WARN, 0),
    ],
)
def test_every_object_that_was_looked_at_is_locked(untils: list[datetime | None], level: Level, unlocked: int) -> None:
    """One that is not may be removed by whoever has stolen the credentials; nothing looked at is not well."""
    facts = [LockFact(f"path/{number}", until) for number, until in enumerate(untils)]

    found = judge_locks("dr", LABEL, facts, now=NOW)

    assert (found.level, found.figures["unlocked"], found.figures["copy"]) == (level, unlocked, "dr")
    assert found.figures["locked_until_at"] == (min(u for u in untils if u).isoformat() if any(untils) else None)


@pytest.fixture
def locking(tmp_path: Path) -> Iterator[S3Store]:
    """A store that locks what it puts, for three days; moto answers nonsense of a version without a lock."""
    with Versitygw(tmp_path / "versitygw") as running:
        with closing(running.server.client()) as client:
            client.create_bucket(Bucket="locks", ObjectLockEnabledForBucket=True)
        location = replace(running.server.location("locks"), lock=ObjectLock("governance", 3))
        yield open_s3(location, patience=BRIEF)


@pytest.mark.endurance
def test_what_readers_see_is_what_must_be_locked(locking: S3Store) -> None:
    """An unlocked version over a locked one is found; an object that is not there yet says nothing."""
    unlocked = S3Store(locking.bucket.client, replace(locking.location, lock=None), patience=BRIEF)
    locking.put_if_absent("a/locked", b"1")
    unlocked.put_if_absent("a/forgotten", b"1")

    copy = Copy("dr", locking)
    facts = {fact.path: fact.until for fact in read_locks(copy, ["a/locked", "a/forgotten", "a/absent"])}

    assert facts.keys() == {"a/locked", "a/forgotten"}
    assert facts["a/forgotten"] is None
    assert facts["a/locked"] is not None
    assert timedelta(days=2) < facts["a/locked"] - datetime.now(UTC) <= timedelta(days=3)
