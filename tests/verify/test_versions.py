"""In a bucket with versions: what was deleted, what was overwritten, and what is not locked, though all reads well."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from pgvault.errors import ObjectMissing, StoreDenied
from pgvault.postgres.walrange import make_ranges
from pgvault.repository import layout
from pgvault.repository.catalog import abort_label
from pgvault.repository.copies import Copy
from pgvault.repository.gaps import note_expired
from pgvault.repository.tails import Span, TailInfo, put_tail
from pgvault.repository.tombstones import Order, begin_removal, put_tombstone
from pgvault.stores.base import Guards, ObjectLock, ObjectVersion
from tests.archive import AT, SYSTEM, make_segment
from tests.verify.copies import NEXT_WEEK, Copies, SilentStore, of, said
from tests.verify.test_repair import repair
from tests.verify.test_verify_copies import of_backup
from tests.verify.vault import LABELS, LAST, Vault, segment_of, wal_key

FIRST, SECOND = LABELS
PACK = of_backup(FIRST, "packs/00000003")
YESTERDAY = NEXT_WEEK - timedelta(days=1)


class Bucket(SilentStore):
    """A store that keeps every version, each locked until an instant or not at all."""

    def __init__(self, objects: dict[str, bytes]) -> None:
        super().__init__()
        self.kept: dict[str, list[bytes | None]] = {}
        self.until: dict[tuple[str, str], datetime] = {}
        self.lock: ObjectLock | None = None
        self.kept_at = YESTERDAY
        self.denied = False
        for key, body in objects.items():
            self._keep(key, body)

    def _keep(self, key: str, body: bytes | None) -> None:
        self.kept.setdefault(key, []).append(body)
        if body is None:
            self.objects.pop(key, None)
        else:
            self.objects[key] = body
        if body is not None and self.lock is not None:
            self.until[key, str(len(self.kept[key]) - 1)] = self.kept_at + timedelta(days=self.lock.days)

    def put_if_absent(self, key: str, body: bytes) -> None:
        super().put_if_absent(key, body)
        self._keep(key, body)

    def replace(self, key: str, body: bytes) -> None:
        self._keep(key, body)

    def delete(self, key: str) -> None:
        if key in self.objects:
            self._keep(key, None)

    def versions(self, prefix: str) -> Iterator[ObjectVersion]:
        if self.denied:
            raise StoreDenied("may not list versions")
        for key, bodies in sorted(self.kept.items()):
            if key == prefix or key.startswith(f"{prefix}/"):
                for number, body in enumerate(bodies):
                    is_latest = number == len(bodies) - 1
                    yield ObjectVersion(key, str(number), body is None, is_latest, len(body or b""), self.kept_at)

    def get_version(self, key: str, version: str) -> bytes:
        body = self.kept[key][int(version)]
        if body is None:
            raise ObjectMissing("a delete marker")
        return body

    def delete_version(self, key: str, version: str) -> None:
        raise AssertionError("verify removes nothing")

    def guards(self) -> Guards:
        return Guards(is_versioned=True, can_lock=True, needs_mfa=False)

    def locked_until(self, key: str, version: str) -> datetime | None:
        return self.until.get((key, version))

    def extend_lock(self, key: str, until: datetime, *, version: str | None = None) -> datetime:
        raise AssertionError("verify locks nothing")


class Kept(Copies):
    """A deciding copy in a bucket, and no other."""

    def __init__(self, vault: Vault) -> None:
        super().__init__(vault)
        self.bucket = Bucket(vault.objects)
        self.repository = replace(self.repository, copies=(Copy("primary", self.bucket),))

    def problems(self) -> list[str]:
        return said(of(self.verify(), "primary"))


@pytest.fixture
def kept(vault: Vault) -> Kept:
    return Kept(vault)


def test_a_bucket_where_nobody_was_is_whole(kept: Kept) -> None:
    """One version of each, and marks beside them."""
    assert kept.problems() == kept.problems() == []


def test_what_was_deleted_is_red_and_comes_back(kept: Kept) -> None:
    """Also a whole backup, of which nothing tells any more but its versions."""
    for key in [key for key in kept.bucket.objects if SECOND in key] + [wal_key(segment_of(LAST).name)]:
        kept.bucket.delete(key)

    lines = kept.problems()
    assert len(lines) == 2
    assert any(SECOND in line and "which no expiry explains" in line for line in lines)
    reports, (done,) = repair(kept)
    reports.require_whole()
    assert done.failed == {}
    assert of_backup(SECOND, "manifest") in kept.bucket.objects
    assert kept.problems() == []


@pytest.mark.parametrize(
    "key", [PACK, of_backup(FIRST, "manifest"), of_backup(FIRST, "refs"), wal_key(segment_of(6).name)]
)
def test_a_deleted_object_comes_back(kept: Kept, key: str) -> None:
    """One marker, and what it hid."""
    body = kept.bucket.objects[key]
    kept.bucket.delete(key)

    assert kept.problems()
    repair(kept)[0].require_whole()
    assert kept.bucket.objects[key] == body


def test_an_overwritten_object_is_red_even_where_it_reads_well_again(kept: Kept) -> None:
    """The lock guards the version and not the key; somebody put other bytes there, and the good ones back."""
    body = kept.bucket.objects[PACK]
    kept.bucket.replace(PACK, b"other bytes")
    assert len(kept.problems()) == 2
    kept.bucket.replace(PACK, body)

    (line,) = kept.problems()
    assert f"{PACK!r} was overwritten" in line


def test_the_same_bytes_again_are_no_overwriting(kept: Kept) -> None:
    """A put whose answer was lost."""
    kept.bucket.replace(PACK, kept.bucket.objects[PACK])

    assert kept.problems() == []


def test_an_overwritten_object_is_repaired_from_its_older_version_and_then_explained(kept: Kept) -> None:
    """What lay there is in quarantine, so the versions that differ are no news."""
    whole = kept.bucket.objects[PACK]
    kept.bucket.replace(PACK, whole[:-1])

    reports, (done,) = repair(kept)

    assert [healed.path for healed in done.healed] == [PACK]
    assert kept.bucket.objects[PACK] == whole
    reports.require_whole()
    assert kept.problems() == []


def test_what_expire_removed_is_explained(kept: Kept) -> None:
    """By the tombstone, also where that went last; by the record of retention."""
    tombstone, _ = put_tombstone(kept.repository, "main", FIRST, Order(AT, "test", "old"))
    marked = [key for key in kept.bucket.objects if FIRST in key]
    for key in marked:
        kept.bucket.delete(key)
    assert kept.problems()  # marked is not removed yet
    begin_removal(kept.repository, "main", tombstone)
    segments = [segment_of(number) for number in (5, 6)]
    note_expired(kept.repository, "main", SYSTEM, make_ranges(segments), at=AT)
    for segment in segments:
        kept.bucket.delete(wal_key(segment.name))
    assert kept.problems() == []
    for key in [key for key in kept.bucket.objects if FIRST in key]:
        kept.bucket.delete(key)

    assert kept.problems() == []


def test_tails_whose_bytes_are_elsewhere_and_aborted_backups_are_explained(kept: Kept) -> None:
    """A stream at work removes them; and an aborted record takes a root's place in the end."""
    content = make_segment(segment_of(LAST + 1))
    keys = []
    for span in (Span(0, 400), Span(0, 9000)):
        piece = content[span.start : span.end]
        info = TailInfo(segment_of(LAST + 1), span.start, span.end, SYSTEM, hashlib.sha256(piece).digest(), AT)
        put_tail(kept.repository, "main", info, content=piece)
        keys.append(layout.tail("main", SYSTEM, segment_of(LAST + 1).name, start=span.start, end=span.end))
    kept.bucket.delete(keys[0])
    label = "20261121T100000Z-0003"
    kept.bucket.put_if_absent(of_backup(label, "packs/00000000"), b"x")
    abort_label(kept.repository, "main", label, reason="killed")
    kept.bucket.delete(of_backup(label, "packs/00000000"))
    assert kept.problems() == []
    kept.bucket.delete(keys[1])

    assert any("deleted" in line for line in kept.problems())


def test_what_should_be_locked_and_is_not_is_red(kept: Kept) -> None:
    """Each object that the configuration covers; one that was put with a lock is fine, a short one is not."""
    kept.bucket.lock = ObjectLock("compliance", 30)
    total = len(kept.bucket.objects)
    (line,) = kept.problems()
    assert f"{total} objects are not locked, as they should be for 30 days" in line
    kept.bucket = locked = Bucket({})
    locked.lock = ObjectLock("compliance", 30)
    for key, body in kept.primary.objects.items():
        locked.replace(key, body)
    kept.repository = replace(kept.repository, copies=(Copy("primary", locked),))
    assert kept.problems() == []
    locked.until[PACK, "0"] -= timedelta(days=2)

    (line,) = kept.problems()
    assert f"1 objects are not locked for long enough, as they should be for 30 days: {PACK!r}" in line


def test_a_lock_that_would_be_over_is_missed_by_nobody(kept: Kept) -> None:
    """What was put before the configuration asked for locks becomes old."""
    kept.bucket.lock = ObjectLock("governance", 30)
    kept.bucket.kept_at = NEXT_WEEK - timedelta(days=31)

    assert kept.problems() == []


def test_rights_that_do_not_suffice_are_told(kept: Kept) -> None:
    """Listing versions is a right of its own; what can be read is read."""
    kept.bucket.denied = True
    report = of(kept.verify(), "primary")

    assert said(report) == []
    assert any("can not be looked at" in note for note in report.notes)
