from __future__ import annotations

from datetime import UTC, datetime

import pytest

from pgvault.backup.committing import commit_checked
from pgvault.errors import AlreadyRunning, ObjectCorrupt, ObjectExists
from pgvault.pipeline.header import Kind
from pgvault.repository import layout
from pgvault.repository.catalog import read_catalog
from pgvault.repository.copies import Copy
from pgvault.repository.keys import Credential
from pgvault.repository.leaseentry import Claim
from pgvault.repository.leases import acquire
from pgvault.repository.manifest import Manifest
from pgvault.repository.objects import put_plain
from pgvault.repository.refs import put_refs
from pgvault.repository.repository import Repository, init_repository
from tests.fakes import MemoryStore
from tests.repository.holders import Time, host_terms
from tests.repository.samples import LABEL, make_manifest

NOW = datetime(2026, 1, 15, 10, 30, tzinfo=UTC)
ROOT = layout.manifest("main", LABEL)
SEGMENT = layout.wal_file("main", 7, "000000010000000000000002")


def make(*, is_wal_sync: bool) -> tuple[Repository, MemoryStore, MemoryStore]:
    primary, dr = MemoryStore(), MemoryStore()
    copies = [Copy("primary", primary), Copy("dr", dr, is_sync_for_backups=True, is_sync_for_wal=is_wal_sync)]
    return init_repository(copies, Credential("raw", bytes(32)), now=NOW)[0], primary, dr


def store_backup(repository: Repository) -> Manifest:
    """Store all but the root of a small backup."""
    wal = put_plain(repository, SEGMENT, Kind.WAL, plain=b"wal")
    pack = put_plain(repository, layout.pack("main", LABEL, 0), Kind.PACK, plain=b"pages")
    part = put_plain(repository, layout.part("main", LABEL, 0), Kind.PART, plain=b"files")
    refs = put_refs(repository, layout.refs("main", LABEL), (pack, part, wal))
    return make_manifest(packs=(pack,), parts=(part,), maps=(), wal=(wal,), refs=refs)


@pytest.mark.parametrize("is_wal_sync", [True, False])
def test_a_root_enters_a_sync_copy_with_everything_it_needs(is_wal_sync: bool) -> None:
    """WAL that the archiver did not wait for is brought by the backup that needs it."""
    repository, primary, dr = make(is_wal_sync=is_wal_sync)
    manifest = store_backup(repository)
    assert (SEGMENT in dr.objects) == is_wal_sync

    commit_checked(repository, manifest)

    assert dr.objects == primary.objects


def test_a_backup_whose_lease_was_lost_is_not_committed() -> None:
    """It stood still for too long; whoever has the lease now has aborted its label, and no copy gets the root."""
    repository, _, dr = make(is_wal_sync=True)
    time = Time()
    claim = Claim("main", LABEL)
    lease = acquire(repository, "backup-main", claim, command="backup", terms=host_terms(time, "a"))
    manifest = store_backup(repository)
    acquire(repository, "backup-main", Claim("main"), command="backup", terms=host_terms(time, "b"))

    with pytest.raises(AlreadyRunning, match="taken over meanwhile, by backup on host 'b'"):
        commit_checked(repository, manifest, lease=lease)

    assert read_catalog(repository, "main").aborted == (LABEL,)
    assert not any(key.startswith("leases/") for key in dr.objects)
    with pytest.raises(ObjectExists):
        commit_checked(repository, manifest)  # it slept right before the root
    assert read_catalog(repository, "main").backups == ()


@pytest.mark.parametrize("number", range(4))
@pytest.mark.parametrize("cut", [None, 1])
def test_no_root_is_put_over_an_object_that_is_gone_or_cut(number: int, cut: int | None) -> None:
    """Whatever the deciding copy lacks: no copy gets the root."""
    repository, primary, dr = make(is_wal_sync=True)
    manifest = store_backup(repository)
    path = [*manifest.packs, *manifest.parts, *manifest.wal, manifest.refs][number].path
    body = primary.objects.pop(path)
    if cut is not None:
        primary.objects[path] = body[:-cut]

    with pytest.raises(ObjectCorrupt, match=path):
        commit_checked(repository, manifest)
    assert ROOT not in primary.objects
    assert ROOT not in dr.objects


def test_what_a_sync_copy_lost_is_brought_again_and_what_it_cut_is_named() -> None:
    """The deciding copy has it whole: losing it heals at the commit, damage is for verify --repair."""
    repository, primary, dr = make(is_wal_sync=True)
    manifest = store_backup(repository)
    del dr.objects[manifest.packs[0].path]
    dr.objects[SEGMENT] = dr.objects[SEGMENT][:-1]

    with pytest.raises(ObjectCorrupt, match=f"sync copy 'dr'.*{SEGMENT}") as caught:
        commit_checked(repository, manifest)

    assert "verify --copy dr --repair" in (caught.value.hint or "")
    assert dr.objects[manifest.packs[0].path] == primary.objects[manifest.packs[0].path]
    assert ROOT not in primary.objects
