"""What each copy by itself says of its newest backups."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from pgvault.errors import StoreUnreachable
from pgvault.monitor.copybackups import CopyBackups, NewestBackup, judge_copy_backups, look_at_copy_backups
from pgvault.monitor.finding import Finding, Level
from pgvault.repository import layout
from pgvault.repository.catalog import Catalog, commit_manifest, read_catalog
from pgvault.repository.copies import Copy
from pgvault.repository.keys import Credential
from pgvault.repository.repository import Repository, init_repository
from tests.archive import AT, KEY
from tests.fakes import MemoryStore
from tests.repository.logicals import make_logical
from tests.repository.samples import SAMPLE

NOW = AT
HOUR = timedelta(hours=1)
OLD, NEW = "20261119T010000Z-0001", "20261120T010000Z-0001"


def ended(label: str) -> datetime:
    return NOW - (30 * HOUR if label == OLD else 6 * HOUR)


CATALOG = Catalog(
    "main", tuple(replace(SAMPLE, label=each, stopped_at=ended(each)) for each in (OLD, NEW)), (), (), (), ()
)


def judged(label: str | None, *, limit: timedelta = timedelta(minutes=15)) -> Finding:
    newest = {} if label is None else {"full": NewestBackup(label, ended(label))}
    (found,) = judge_copy_backups([CopyBackups("away", newest, limit)], CATALOG, now=NOW)
    return found


@pytest.mark.parametrize(
    ("label", "limit", "level", "behind"),
    [
        (NEW, HOUR, Level.OK, 0),
        (OLD, 24 * HOUR, Level.OK, 6 * 3600),
        (OLD, HOUR, Level.RED, 6 * 3600),
        (None, 24 * HOUR, Level.OK, 6 * 3600),
        (None, HOUR, Level.RED, 6 * 3600),
    ],
)
def test_a_copy_without_the_newest_backup_is_told(
    label: str | None, limit: timedelta, level: Level, behind: int
) -> None:
    """For how long it has lacked it; red once that is longer than the copy may."""
    found = judged(label, limit=limit)

    assert (found.level, found.figures["behind_seconds"]) == (level, behind)
    assert (f"while {NEW} is in another copy" in found.detail) is (label != NEW)


def test_no_backup_anywhere_is_told_once_and_elsewhere() -> None:
    """`backup` is red then; a copy that lacks nothing is not told to be well."""
    empty = replace(CATALOG, backups=())

    assert list(judge_copy_backups([CopyBackups("away")], empty, now=NOW)) == []


def test_a_copy_that_does_not_answer_is_unknown() -> None:
    """Not empty."""
    (found,) = judge_copy_backups([CopyBackups("away", error=StoreUnreachable("gone"))], CATALOG, now=NOW)

    assert (found.level, found.detail) == (Level.WARN, "away: unknown, since it is not read: gone")


@pytest.fixture
def pair() -> Repository:
    """Two copies of everything: a full and a logical backup of each day, and a schema backup."""
    copies = [Copy("primary", MemoryStore()), Copy("away", MemoryStore(), is_sync_for_backups=True, backup_lag=HOUR)]
    repository, _ = init_repository(copies, Credential("raw", KEY), now=AT)
    for label in (OLD, NEW):
        commit_manifest(repository, replace(SAMPLE, cluster="main", label=label, stopped_at=ended(label)))
        commit_manifest(repository, make_logical(cluster="main", label=f"{label[:-1]}2", stopped_at=ended(label)))
    return repository


def test_each_copy_speaks_for_itself(pair: Repository) -> None:
    """What is taken from the first is still there for whoever reads both; here it is gone."""
    store = pair.copies[0].store
    for number in (1, 2):
        store.delete(layout.manifest("main", f"{NEW[:-1]}{number}"))
    catalog = read_catalog(pair, "main")
    assert len(catalog.roots) == 4

    primary, away = look_at_copy_backups(pair, "main", catalog)

    assert {kind: each.label for kind, each in primary.newest.items()} == {"full": OLD, "logical": f"{OLD[:-1]}2"}
    assert {kind: each.label for kind, each in away.newest.items()} == {"full": NEW, "logical": f"{NEW[:-1]}2"}
    assert away.limit == HOUR
    levels = {
        (f.figures["copy"], f.figures["kind"]): f.level for f in judge_copy_backups([primary, away], catalog, now=NOW)
    }
    assert levels == {
        ("primary", "full"): Level.RED,
        ("primary", "logical"): Level.RED,
        ("away", "full"): Level.OK,
        ("away", "logical"): Level.OK,
    }


def test_no_more_roots_are_read_than_it_takes(pair: Repository) -> None:
    """The newest of each kind, not all that there are."""
    catalog = read_catalog(pair, "main")
    store = pair.copies[1].store
    assert isinstance(store, MemoryStore)
    store.calls.clear()

    look_at_copy_backups(pair, "main", catalog)

    assert [key for verb, key in store.calls if verb == "get"] == [
        layout.manifest("main", f"{NEW[:-1]}{number}") for number in (2, 1)
    ]
