from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pgvault.anomaly.changed import changed_share
from pgvault.anomaly.kind import kind_of
from pgvault.anomaly.measuring import measure, wal_rate
from pgvault.errors import ObjectCorrupt
from pgvault.pipeline.header import Kind
from pgvault.postgres.inventory import RelationEntry, UnreadEntry
from pgvault.postgres.lsn import Lsn
from pgvault.repository import layout
from pgvault.repository.blockmap import BLOCK_BYTES, ENTRY
from pgvault.repository.catalog import commit_manifest
from pgvault.repository.filelist import Extent, FileKind, FileRecord
from pgvault.repository.inventory import put_inventory
from pgvault.repository.manifest import Manifest
from pgvault.repository.objects import Stored, put_plain
from pgvault.repository.repository import Repository
from tests.anomaly.days import DEFAULT
from tests.archive import make_archive
from tests.repository.logicals import make_logical
from tests.repository.samples import SAMPLE

AT = datetime(2026, 1, 15, 1, 0, tzinfo=UTC)
Files = dict[str, list[int]]  # a CRC for each block


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return make_archive(tmp_path).repository


def store(repository: Repository, day: int, files: Files, *, relations: int = 3, **changes: object) -> Manifest:
    """Commit a backup of these files on a day; maps and parts are cut after each file."""
    label = layout.make_label(AT + timedelta(days=day), bytes(2))
    parts: list[Stored] = []
    maps: list[Stored] = []
    for name, blocks in sorted(files.items(), key=lambda item: item[0].split("/")):
        size = len(blocks) * BLOCK_BYTES - (100 if blocks else 0)
        record = FileRecord(name.encode(), FileKind.FILE, 0o600, 0, size, 0, (Extent(0, size, None, 0, 0, 0),))
        if blocks:
            entries = b"".join(ENTRY.pack(crc, bytes([day]) * 16) for crc in blocks)
            record = replace(record, block_map=(len(maps), 0))
            maps.append(put_plain(repository, layout.block_map("main", label, len(maps)), Kind.MAP, plain=entries))
        else:
            record = replace(record, extents=())
        parts.append(put_plain(repository, layout.part("main", label, len(parts)), Kind.PART, plain=record.encode()))
    entries_noted = [RelationEntry(5, oid, oid, "r", "public", f"t{oid}", 1.0, 1, 1, True) for oid in range(relations)]
    root = replace(
        SAMPLE,
        label=label,
        started_at=AT + timedelta(days=day),
        parts=tuple(parts),
        maps=tuple(maps),
        start_lsn=Lsn(1 << 30) + day * (24 << 20),
        inventory=put_inventory(repository, "main", label, entries_noted),
        **changes,  # type: ignore[arg-type]
    )
    root = replace(root, measures=measure(repository, root, DEFAULT))
    commit_manifest(repository, root)
    return root


@pytest.mark.parametrize(
    ("earlier", "later", "share"),
    [
        ({"base/5/1": [1, 2, 3, 4]}, {"base/5/1": [1, 2, 3, 4]}, 0),
        ({"base/5/1": [1, 2, 3, 4]}, {"base/5/1": [1, 9, 3, 4]}, 0.25),
        ({"base/5/1": [1, 2, 3, 4]}, {"base/5/1": [1, 2]}, 0),
        ({"base/5/1": [1, 2]}, {"base/5/1": [1, 2, 3, 4]}, 0.5),
        ({"base/5/1": [1], "base/5/2": [2]}, {"base/5/1": [1], "base/5/3": [2]}, 0.5),
        ({"base/5/1": [1, 2]}, {"base/5/1_fsm": [8], "base/5/1": [1, 2], "base/5/1.1": [7]}, 0.5),
        ({"base/5/1": [1], "base/50/1": [2], "base/6/1": [3]}, {"base/6/1": [3], "base/50/1": [2]}, 0),
        ({"a": [1], "b": [2], "c": [3]}, {"c": [3]}, 0),
        ({"a/1": [1], "a-b/1": [2]}, {"a-b/1": [2]}, 0),  # '-' sorts before '/', and "a" before "a-b"
        ({}, {"a": [1]}, 1),
    ],
)
def test_blocks_are_compared_path_by_path(repository: Repository, earlier: Files, later: Files, share: float) -> None:
    """Whatever order their names have, and whatever came or went between them; the keyed hash is not looked at."""
    first, second = store(repository, 0, {**earlier, "e": []}), store(repository, 1, later)

    assert changed_share(repository, first, second) == share


def test_without_maps_nothing_is_known(repository: Repository) -> None:
    """And a map that ends too early is corrupt."""
    first = store(repository, 0, {"a": [1, 2]})
    assert changed_share(repository, first, store(repository, 1, {})) is None

    short = put_plain(repository, layout.block_map("main", first.label, 7), Kind.MAP, plain=bytes(ENTRY.size))
    with pytest.raises(ObjectCorrupt, match="ends too early"):
        changed_share(repository, replace(first, maps=(short,)), first)


def test_each_backup_goes_on_where_the_last_measured_one_was(repository: Repository) -> None:
    """A root names those it is compared with, and what was measured of them."""
    roots = [store(repository, day, {"a": [1, 2, 3, day]}, relations=day) for day in range(3)]

    third = roots[2].measures

    assert third is not None
    assert [past.label for past in third.before] == [roots[0].label, roots[1].label]
    assert third.values["changed"] == 0.25
    assert third.values["wal"] == 1 << 20
    assert third.values["relations"] == 2
    assert third.values["databases"] == 2
    assert third.before[1].values == roots[1].measures.values  # type: ignore[union-attr]
    assert "changed" not in third.before[0].values


def test_what_can_not_be_read_is_absent(repository: Repository) -> None:
    """The backup is measured by the rest; a database that was not read makes relations unknown."""
    first = store(repository, 0, {"a": [1, 2]})
    repository.deciding.store.delete(first.maps[0].path)

    second = store(repository, 1, {"a": [1, 2]})

    assert second.measures is not None
    assert "changed" not in second.measures.values
    assert second.measures.values["size"] == second.total_bytes
    noted = put_inventory(repository, "main", "20260117T010000Z-0000", [UnreadEntry(5, "busy")])
    found = measure(repository, replace(second, inventory=noted), DEFAULT)
    assert found is not None
    assert "relations" not in found.values


def test_those_of_an_older_pgvault_are_what_it_begins_with(repository: Repository) -> None:
    """By what their roots say, so that nobody waits for a week after an update."""
    roots = [store(repository, day, {"a": [1]}) for day in range(4)]
    for root in roots:
        commit_manifest(repository, replace(root, label=f"{root.label[:-4]}ffff", measures=None, cluster="other"))

    found = measure(
        repository, replace(roots[-1], label="20260119T010000Z-0000", cluster="other", measures=None), DEFAULT
    )

    assert found is not None
    assert [each.label[-4:] for each in found.before] == ["ffff"] * 4
    assert found.before[0].values["files"] == SAMPLE.file_count


def test_wal_is_not_measured_over_minutes() -> None:
    """Nor backwards: a backup forces segments itself, and a timeline may have been left."""
    first = replace(SAMPLE, started_at=AT, start_lsn=Lsn(1 << 30))

    def after(minutes: int, bytes_: int) -> float | None:
        later = replace(SAMPLE, started_at=AT + timedelta(minutes=minutes), start_lsn=Lsn((1 << 30) + bytes_))
        return wal_rate(first, later)

    assert after(30, 1 << 20) == 2 << 20
    assert after(29, 1 << 20) is None
    assert after(60, -1) is None


def test_a_dump_of_some_databases_is_of_another_kind() -> None:
    """It is compared with dumps of the same ones."""
    assert kind_of(make_logical()) == "logical"
    assert kind_of(make_logical(), ["shop", "crm"]) == "logical of crm, shop"
    assert kind_of(make_logical(class_name="critical")) == "logical, class critical"
