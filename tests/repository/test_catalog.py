from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from pgvault.errors import (
    FormatUnsupported,
    ObjectCorrupt,
    ObjectExists,
    ObjectMissing,
    PgvaultError,
    StoreUnreachable,
)
from pgvault.pipeline.header import Kind
from pgvault.postgres.lsn import Lsn
from pgvault.repository import layout
from pgvault.repository.catalog import (
    abort_label,
    clusters,
    commit_manifest,
    read_catalog,
    read_root,
)
from pgvault.repository.logical import LogicalType
from pgvault.repository.manifest import Manifest
from pgvault.repository.objects import put_json, put_plain
from pgvault.repository.repository import Repository
from tests.fakes import MemoryStore
from tests.repository.logicals import LOGICAL, make_logical
from tests.repository.samples import make_manifest

FIRST = datetime(2026, 1, 15, 10, 30, tzinfo=UTC)


def labelled(label: str, *, hours: int = 0, timeline: int = 1, lsn: int = 0, system: int = 1) -> Manifest:
    return make_manifest(
        label=label,
        system_identifier=system,
        timeline=timeline,
        start_lsn=Lsn(lsn),
        started_at=FIRST + timedelta(hours=hours),
    )


def flip(store: MemoryStore, path: str, at: int = -50) -> None:
    body = bytearray(store.objects[path])
    body[at] ^= 1
    store.objects[path] = bytes(body)


def test_committed_root_is_a_backup(repository: Repository) -> None:
    """What was committed is listed, and found by its label, as it was written."""
    manifest = labelled("20260115T103000Z-0001")

    commit_manifest(repository, manifest)

    catalog = read_catalog(repository, "main")
    assert catalog.backups == (manifest,)
    assert catalog.find(manifest.label) == manifest
    assert clusters(repository) == ["main"]


def test_cluster_without_backups_is_empty(repository: Repository) -> None:
    """Nothing there is an empty catalog, and no label of it is found."""
    catalog = read_catalog(repository, "main")

    assert (catalog.backups, catalog.unfinished, catalog.aborted, catalog.unreadable) == ((), (), (), ())
    with pytest.raises(ObjectMissing):
        catalog.find("20260115T103000Z-0001")


def test_label_without_a_root_is_unfinished(repository: Repository) -> None:
    """Packs, parts, even refs are no backup."""
    label = "20260115T103000Z-0001"
    put_plain(repository, layout.pack("main", label, 0), Kind.PACK, plain=b"x")
    put_plain(repository, layout.part("main", label, 0), Kind.PART, plain=b"x")

    catalog = read_catalog(repository, "main")

    assert catalog.unfinished == (label,)
    assert catalog.backups == ()
    with pytest.raises(ObjectMissing):
        catalog.find(label)


def test_aborted_label_is_never_a_backup(repository: Repository) -> None:
    """Who comes late with its root finds the place taken, and what is listed stays aborted."""
    manifest = labelled("20260115T103000Z-0001")
    abort_label(repository, "main", manifest.label, reason="killed")

    with pytest.raises(ObjectExists):
        commit_manifest(repository, manifest)

    catalog = read_catalog(repository, "main")
    assert catalog.aborted == (manifest.label,)
    assert catalog.backups == ()


def test_committed_label_is_never_aborted(repository: Repository) -> None:
    """Nor does an abort that comes late take a backup away."""
    manifest = labelled("20260115T103000Z-0001")
    commit_manifest(repository, manifest)

    with pytest.raises(ObjectExists):
        abort_label(repository, "main", manifest.label, reason="swept")

    assert read_root(repository, "main", manifest.label) == manifest


def test_commit_whose_answer_was_lost_is_a_commit(repository: Repository, store: MemoryStore) -> None:
    """The root is recognised as ours."""
    manifest = labelled("20260115T103000Z-0001")
    store.lose_answers = [store.puts + 1]

    commit_manifest(repository, manifest)

    assert read_root(repository, "main", manifest.label) == manifest


@pytest.mark.parametrize("damage", ["flip", "cut", "empty", "other"])
def test_unreadable_root_is_reported_beside_good_ones(repository: Repository, store: MemoryStore, damage: str) -> None:
    """One bad root neither hides the others nor is hidden by them."""
    good, bad = labelled("20260115T103000Z-0001"), labelled("20260115T103000Z-0002")
    commit_manifest(repository, good)
    commit_manifest(repository, bad)
    path = layout.manifest("main", bad.label)
    if damage == "flip":
        flip(store, path)
    else:
        whole = store.objects[path]
        other = store.objects[layout.manifest("main", good.label)]
        store.objects[path] = {"cut": whole[:-1], "empty": b"", "other": other}[damage]

    catalog = read_catalog(repository, "main")

    assert catalog.backups == (good,)
    assert [entry.label for entry in catalog.unreadable] == [bad.label]
    with pytest.raises(ObjectCorrupt):
        catalog.find(bad.label)


def test_root_of_a_newer_version_is_reported(repository: Repository) -> None:
    """An old pgvault says that it does not know that backup, and shows the rest."""
    label = "20260115T103000Z-0001"
    document = labelled(label).to_json() | {"manifest": 2}
    put_json(repository, layout.manifest("main", label), Kind.MANIFEST, document=document)

    (entry,) = read_catalog(repository, "main").unreadable

    assert isinstance(entry.error, FormatUnsupported)


@pytest.mark.parametrize(("label", "cluster"), [("20260115T103000Z-0002", "main"), ("20260115T103000Z-0001", "shop")])
def test_root_that_says_it_is_another_is_refused(repository: Repository, label: str, cluster: str) -> None:
    """A root under another label than its own is corrupt, whoever sealed it there."""
    document = labelled("20260115T103000Z-0001").to_json()
    put_json(repository, layout.manifest(cluster, label), Kind.MANIFEST, document=document)

    with pytest.raises(ObjectCorrupt):
        read_root(repository, cluster, label)


@pytest.mark.parametrize("kind", [Kind.PACK, Kind.PART, Kind.WAL])
def test_root_of_another_kind_is_refused(repository: Repository, kind: Kind) -> None:
    """Nothing but a root or an aborted record stands in the root's place."""
    label = "20260115T103000Z-0001"
    put_json(repository, layout.manifest("main", label), kind, document=labelled(label).to_json())

    with pytest.raises(ObjectCorrupt):
        read_root(repository, "main", label)


def test_root_relabelled_as_aborted_is_refused(repository: Repository, store: MemoryStore) -> None:
    """The kind in the clear header decides nothing before it opened: a backup can't be made to look aborted."""
    manifest = labelled("20260115T103000Z-0001")
    commit_manifest(repository, manifest)
    path = layout.manifest("main", manifest.label)
    body = bytearray(store.objects[path])
    body[10] = Kind.ABORTED
    store.objects[path] = bytes(body)

    catalog = read_catalog(repository, "main")

    assert catalog.aborted == ()
    assert [entry.label for entry in catalog.unreadable] == [manifest.label]


def test_backups_are_ordered_by_where_they_lie_not_by_label(repository: Repository) -> None:
    """Clocks of hosts differ: within a system the timeline and the WAL decide, and systems stand by their first."""
    expected = [
        labelled("20260115T103000Z-0009", system=7, timeline=1, lsn=100, hours=3),
        labelled("20260115T103000Z-0001", system=7, timeline=1, lsn=200, hours=1),
        labelled("20260115T103000Z-0005", system=7, timeline=2, lsn=150, hours=2),
        labelled("20260115T103000Z-0000", system=3, timeline=1, lsn=50, hours=4),
        labelled("20260115T103000Z-0003", system=3, timeline=1, lsn=60, hours=5),
    ]
    for manifest in reversed(expected):
        commit_manifest(repository, manifest)

    assert read_catalog(repository, "main").backups == tuple(expected)


@pytest.mark.parametrize("calls", range(3))
def test_store_that_does_not_answer_gives_no_catalog(repository: Repository, store: MemoryStore, calls: int) -> None:
    """Half a list, with the rest called unreadable or unfinished, would be a lie: the error comes through."""
    commit_manifest(repository, labelled("20260115T103000Z-0001"))
    commit_manifest(repository, labelled("20260115T103000Z-0002"))
    store.fail_after_calls = len(store.calls) + calls

    with pytest.raises(StoreUnreachable):
        read_catalog(repository, "main")


@pytest.mark.parametrize("calls", [0, 1, 7, 39])
def test_many_roots_are_read_side_by_side_and_as_honestly(
    repository: Repository, store: MemoryStore, calls: int
) -> None:
    """With 200 backups in a region far away a status took twelve seconds, a round trip for each root."""
    many = tuple(labelled(f"20260115T103000Z-{number:04x}", hours=number, lsn=number) for number in range(40))
    for each in many:
        commit_manifest(repository, each)
    put_plain(repository, layout.pack("main", "20260115T103000Z-ffff", 0), Kind.PACK, plain=b"x")
    flip(store, layout.manifest("main", many[3].label))

    catalog = read_catalog(repository, "main")

    assert catalog.backups == (*many[:3], *many[4:])
    assert [each.label for each in catalog.unreadable] == [many[3].label]
    assert catalog.unfinished == ("20260115T103000Z-ffff",)
    store.fail_after_calls = len(store.calls) + calls
    with pytest.raises(StoreUnreachable):
        read_catalog(repository, "main")


def test_clusters_do_not_see_each_other(repository: Repository) -> None:
    """A cluster whose name begins like another's has backups of its own."""
    one, other = make_manifest(cluster="db1"), make_manifest(cluster="db10")
    commit_manifest(repository, one)
    commit_manifest(repository, other)

    assert read_catalog(repository, "db1").backups == (one,)
    assert read_catalog(repository, "db10").backups == (other,)
    assert clusters(repository) == ["db1", "db10"]


def test_errors_of_roots_are_ours(repository: Repository, store: MemoryStore) -> None:
    """Whatever bytes stand in a root's place, listing does not break."""
    paths = [layout.manifest("main", f"20260115T103000Z-000{number}") for number in range(4)]
    for path, junk in zip(paths, [b"PGVAULT\n", bytes(128), b"PGVAULT\n" + bytes(300), b"{}"], strict=True):
        store.objects[path] = junk

    catalog = read_catalog(repository, "main")

    assert len(catalog.unreadable) == 4
    assert all(isinstance(entry.error, PgvaultError) for entry in catalog.unreadable)


class TestLogical:
    """Logical backups stand beside the physical ones, and never in their place."""

    def test_they_are_listed_apart(self, repository: Repository) -> None:
        """Whoever plans with WAL sees only what WAL goes with; the others are there by their age."""
        physical = labelled("20260115T103000Z-0001")
        late = make_logical(label="20260115T103000Z-0002", started_at=FIRST + timedelta(hours=2))
        early = make_logical(label="20260115T103000Z-0003", type=LogicalType.SCHEMA, started_at=FIRST)
        for manifest in (physical, late, early):
            commit_manifest(repository, manifest)

        catalog = read_catalog(repository, "main")

        assert catalog.backups == (physical,)
        assert catalog.logical == (early, late)
        assert (catalog.unfinished, catalog.unreadable) == ((), ())
        assert catalog.find_logical(late.label) == late
        assert [catalog.find_any(each.label) for each in (physical, late)] == [physical, late]

    def test_one_is_not_taken_for_the_other(self, repository: Repository) -> None:
        """Each has its own way to be restored, and the error names it."""
        physical, logical = labelled("20260115T103000Z-0001"), make_logical(label="20260115T103000Z-0002")
        commit_manifest(repository, physical)
        commit_manifest(repository, logical)
        catalog = read_catalog(repository, "main")

        with pytest.raises(ObjectMissing, match="is a logical one") as caught:
            catalog.find(logical.label)
        assert caught.value.hint == f"See: pgvault restore --logical {logical.label}"
        with pytest.raises(ObjectMissing, match="is a physical one"):
            catalog.find_logical(physical.label)
        with pytest.raises(ObjectMissing, match="there is no backup"):
            catalog.find_logical("20260115T103000Z-0003")

    def test_a_damaged_one_is_reported(self, repository: Repository, store: MemoryStore) -> None:
        """Like any other root."""
        logical = make_logical()
        commit_manifest(repository, logical)
        flip(store, layout.manifest("main", logical.label))

        catalog = read_catalog(repository, "main")

        assert catalog.logical == ()
        assert [entry.label for entry in catalog.unreadable] == [logical.label]
        with pytest.raises(ObjectCorrupt):
            catalog.find_logical(logical.label)

    @pytest.mark.parametrize("type_name", ["incremental", "Logical", None, 7, ["logical"]])
    def test_a_type_that_is_not_known_is_no_logical_backup(self, repository: Repository, type_name: object) -> None:
        """It lacks what a physical root has, and is reported."""
        label = "20260115T103000Z-0002"
        document = make_logical(label=label).to_json() | {"type": type_name}
        put_json(repository, layout.manifest("main", label), Kind.MANIFEST, document=document)

        catalog = read_catalog(repository, "main")

        assert (catalog.backups, catalog.logical) == ((), ())
        assert [entry.label for entry in catalog.unreadable] == [label]

    @pytest.mark.parametrize(("label", "cluster"), [("20260115T103000Z-0009", "main"), (LOGICAL.label, "shop")])
    def test_one_that_says_it_is_another_is_refused(self, repository: Repository, label: str, cluster: str) -> None:
        """A root under another label than its own is corrupt."""
        document = LOGICAL.to_json()
        put_json(repository, layout.manifest(cluster, label), Kind.MANIFEST, document=document)

        with pytest.raises(ObjectCorrupt):
            read_root(repository, cluster, label)
