"""What lies where."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from pgvault.doctor.places import (
    CopyPlace,
    Disk,
    Place,
    judge_copies,
    judge_repository_places,
    judge_room,
    judge_spool,
)
from pgvault.monitor.finding import Level

ONE, OTHER = Disk(1, 1000, 500), Disk(2, 1000, 500)
DATA = Place(Path("/srv/data"), ONE)
NEAR = CopyPlace("near", "file:///srv/repository", Place(Path("/srv/repository"), ONE))
FAR = CopyPlace("far", "file:///mnt/repository", Place(Path("/mnt/repository"), OTHER))
BUCKET = CopyPlace("bucket", "s3://b/p", None, (None, "b"), "eu-central-1")


@pytest.mark.parametrize(
    ("copies", "level"),
    [
        ([FAR], Level.OK),
        ([BUCKET], Level.OK),
        ([NEAR], Level.RED),
        ([NEAR, NEAR], Level.RED),
        ([NEAR, BUCKET], Level.WARN),
    ],
)
def test_a_repository_on_the_disk_of_the_data_is_told(copies: list[CopyPlace], level: Level) -> None:
    """Wrong where there is nothing else, a warning where something is left when the disk is gone."""
    assert [each.level for each in judge_repository_places(DATA, copies)] == [level]


def test_a_repository_in_the_data_directory_is_wrong() -> None:
    """On whatever disk: a link or a mount in there is copied with the rest."""
    inside = replace(FAR, here=Place(Path("/srv/data/backups"), OTHER))

    assert [each.level for each in judge_repository_places(DATA, [inside])] == [Level.RED, Level.OK]


def test_where_the_data_directory_is_not_seen_nothing_is_claimed() -> None:
    assert list(judge_repository_places(None, [NEAR])) == []


@pytest.mark.parametrize(
    ("copies", "said"),
    [
        ([FAR], "there is one copy, far"),
        ([NEAR, replace(NEAR, name="also")], "on one disk"),
        ([BUCKET, replace(BUCKET, name="also", region="us-east-1")], "in one bucket, b"),
        ([BUCKET, replace(BUCKET, name="also", bucket=(None, "c"))], "in one region, eu-central-1"),
        ([replace(BUCKET, region=None), replace(BUCKET, name="also", bucket=(None, "c"), region=None)], "same region"),
    ],
)
def test_copies_that_one_accident_takes_are_told(copies: list[CopyPlace], said: str) -> None:
    (found,) = judge_copies(copies)

    assert found.level is Level.WARN
    assert said in found.detail


@pytest.mark.parametrize(
    "other",
    [FAR, replace(BUCKET, bucket=(None, "c"), region="us-east-1"), replace(BUCKET, bucket=("https://minio", "b"))],
    ids=["a disk", "another region", "another provider"],
)
def test_copies_that_are_apart_are_well(other: CopyPlace) -> None:
    assert [each.level for each in judge_copies([BUCKET, other])] == [Level.OK]


def test_a_disk_at_95_percent_is_wrong() -> None:
    """Told once with all that lies there, since one line is what is read."""
    full = Place(Path("/srv/pg_wal"), Disk(3, 1000, 50))
    places = {"data directory": DATA, "spool": DATA, "pg_wal": full, "scratch": Place(Path("/mnt"), Disk(4, 1000, 51))}

    found = list(judge_room(places))

    assert [each.level for each in found] == [Level.OK, Level.RED, Level.OK]
    assert [each.detail.partition(":")[0] for each in found] == ["data directory, spool", "pg_wal", "scratch"]


def test_a_spool_beside_pg_wal_is_told() -> None:
    assert judge_spool(Place(Path("/srv/spool"), ONE), DATA).level is Level.WARN
    assert judge_spool(Place(Path("/mnt/spool"), OTHER), DATA).level is Level.OK
