"""`hold`, `release` and `holds`: what they print, and how they end."""

from __future__ import annotations

import hashlib

import pytest

from pgvault.errors import ObjectMissing, Refused, TargetInvalid, UsageError
from pgvault.instants import iso
from pgvault.postgres.walname import segments_between
from pgvault.repository.catalog import commit_manifest
from pgvault.repository.tombstones import Order, begin_removal, put_tombstone
from pgvault.repository.walobjects import WalInfo, put_wal
from tests.archive import AT, Archive, make_segment
from tests.cli.here import pgvault, pgvault_json
from tests.repository.samples import make_manifest

LABEL = "20260115T103000Z-0001"


@pytest.fixture
def held(archive: Archive) -> Archive:
    """A repository with one backup in it."""
    commit_manifest(archive.repository, make_manifest(label=LABEL))
    return archive


def test_a_hold_is_listed_until_it_is_released(held: Archive) -> None:
    """With what, who and why."""
    words = ("--config", held.config)
    one = pgvault_json(*words, "hold", LABEL, "--why", "incident 42")
    other = pgvault_json(*words, "hold", "--from", "2026-01-01T10:00", "--to", "2026-01-01T13:00+02:00")

    assert (one["label"], one["from"], one["why"]) == (LABEL, None, "incident 42")
    assert (other["from"], other["to"]) == ("2026-01-01T10:00:00+00:00", "2026-01-01T11:00:00+00:00")
    assert pgvault_json(*words, "holds")["holds"] == [one, other]

    assert pgvault(*words, "release", one["id"]).output.startswith(f"released: {one['id']}  backup {LABEL}, by ")
    assert pgvault_json(*words, "holds")["holds"] == [other]
    assert pgvault(*words, "release", one["id"]).status == Refused.exit_code
    pgvault_json(*words, "release", other["id"])
    assert pgvault(*words, "holds").output == "nothing is held\n"


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ((), UsageError),
        ((LABEL, "--from", "2026-01-01T10:00", "--to", "2026-01-01T12:00"), UsageError),
        (("--from", "2026-01-01T10:00"), UsageError),
        (("--from", "2026-01-01T10:00", "--to", "2026-01-01T10:00"), UsageError),
        (("--from", "some day", "--to", "2026-01-01T10:00"), TargetInvalid),
        ((LABEL, "--until", "2026-01-01T10:00"), UsageError),
        (("20260115T103000Z-0002",), ObjectMissing),
    ],
)
def test_a_hold_of_nothing_is_refused(held: Archive, given: tuple[str, ...], error: type[Exception]) -> None:
    """In one sentence, and nothing is held."""
    finished = pgvault("--config", held.config, "hold", *given)

    assert finished.status == error.exit_code  # type: ignore[attr-defined]
    assert pgvault_json("--config", held.config, "holds")["holds"] == []


def test_a_hold_that_may_be_too_late_says_so(held: Archive) -> None:
    """Its removal has begun: whether it stays, expire decides at this moment."""
    marked, _ = put_tombstone(held.repository, "main", LABEL, Order(AT, "x", ""))
    begin_removal(held.repository, "main", marked)

    finished = pgvault("--config", held.config, "hold", LABEL)

    assert finished.status == Refused.exit_code
    assert "is being removed at this moment" in finished.errors
    assert len(pgvault_json("--config", held.config, "holds")["holds"]) == 1


def test_a_hold_of_moments_that_nothing_reaches_says_so(archive: Archive) -> None:
    """An incident before the oldest backup is not kept by being held, and nobody may believe so."""
    manifest = make_manifest(label=LABEL, timeline=1)
    for segment in segments_between(1, manifest.start_lsn, manifest.stop_lsn, manifest.wal_segment_size):
        content = make_segment(segment, system_identifier=manifest.system_identifier)
        digest = hashlib.sha256(content).digest()
        info = WalInfo(segment.name, len(content), digest, manifest.system_identifier, 1, segment.start_lsn, AT, AT)
        put_wal(archive.repository, "main", info, content=content)
    commit_manifest(archive.repository, manifest)
    words = ("--config", archive.config, "hold", "--to", "2026-02-01T00:00", "--from")

    gone = pgvault(*words, "2025-10-25T10:00")

    assert gone.status == 0
    assert f"no moment before {iso(manifest.stopped_at)} can be restored" in gone.errors
    assert pgvault(*words, iso(manifest.stopped_at)).errors == ""


def test_a_hold_without_any_backup_says_what_it_keeps(archive: Archive) -> None:
    """Only what comes."""
    held = pgvault("--config", archive.config, "hold", "--from", "2026-01-01T10:00", "--to", "2026-02-01T00:00")

    assert held.status == 0
    assert "no moment can be restored now" in held.errors
