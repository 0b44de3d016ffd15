"""Logical backups are read back whole, and need no WAL for that."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from pgvault.errors import ObjectMissing, VerifyFailed
from pgvault.repository import layout
from pgvault.repository.logical import LogicalType
from pgvault.repository.tables import encode_tables
from tests.repository.logicals import DEFINITIONS, LABEL, RECORDS, SHOP, files_of, make_logical, put_logical, toc_bytes
from tests.verify.test_verify import DAMAGES
from tests.verify.vault import LABELS, Vault

PREFIX = layout.backup("main", LABEL)
SCHEMA = "20260115T130000Z-5c4e"


@pytest.fixture
def logical(empty: Vault) -> Vault:
    """A repository with a logical backup and a schema backup, and nothing else."""
    put_logical(empty.repository)
    put_logical(empty.repository, SCHEMA, type=LogicalType.SCHEMA, has_globals=False)
    return empty


def said(vault: Vault) -> str:
    """All that verify says; that it fails is claimed on the way."""
    report = vault.verify()
    with pytest.raises(VerifyFailed):
        report.require_whole()
    return "\n".join(f"{problem.what}: {problem.error}" for problem in report.problems)


def test_logical_backups_alone_are_whole(logical: Vault) -> None:
    """Every object of theirs is read back, and no WAL is missed."""
    report = logical.verify()

    report.require_whole()
    assert report.backups == [LABEL, SCHEMA]
    read = [key for key in logical.objects if "/backups/" in key and not key.endswith("/manifest")]
    assert report.object_count == len(read)
    assert report.stored_bytes == sum(len(logical.objects[key]) for key in read)
    assert report.segment_count == 0


def test_they_stand_beside_physical_ones(vault: Vault) -> None:
    """Both kinds are looked at."""
    put_logical(vault.repository)

    report = vault.verify()

    report.require_whole()
    assert report.backups == [*LABELS, LABEL]


def test_physical_ones_still_need_their_wal(vault: Vault) -> None:
    """A logical backup beside it excuses nothing."""
    put_logical(vault.repository)
    for key in [key for key in vault.objects if "/wal/" in key]:
        del vault.objects[key]

    assert "/wal/" in said(vault)


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", ["manifest", "refs", "parts/00000000", "packs/00000000", "packs/00000006"])
def test_a_hurt_object_is_named(logical: Vault, name: str, damage: Callable[[Vault, str], None]) -> None:
    """Each kind of object, each kind of damage; the other backup is looked at."""
    damage(logical, f"{PREFIX}/{name}")

    report = logical.verify()

    assert {problem.what for problem in report.problems} == {f"backup {LABEL}"}
    assert any(f"{PREFIX}/{name}" in str(problem.error) for problem in report.problems), report.problems
    assert SCHEMA in report.backups


def test_every_pack_is_looked_at(logical: Vault) -> None:
    """One changed byte in any of them."""
    packs = [key for key in logical.objects if key.startswith(f"{PREFIX}/packs/")]
    assert len(packs) > 5
    for key in packs:
        logical.changed(key, 150)
        assert key in said(logical)
        logical.changed(key, 150)
    logical.verify().require_whole()


def test_an_empty_repository_is_red(empty: Vault) -> None:
    """Nothing to look at is a problem."""
    assert isinstance(empty.verify().problems[0].error, ObjectMissing)
    assert "nothing to verify" in said(empty)


@pytest.mark.parametrize(
    "name", ["globals.sql", "16384/toc.dat", "16384/3456.dat", "16384/blobs_3457.toc", "16384/blob_16390.dat",
             "16384.list", "16384.tables"],
)  # fmt: skip
def test_a_missing_file_is_named(empty: Vault, name: str) -> None:
    """Everything that is stored is whole, and something is not there."""
    files = files_of(make_logical())
    del files[name.encode()]
    put_logical(empty.repository, files=files)

    assert re.search(rf"has no file '{name}'|file '{name}' of .* is missing", said(empty))


@pytest.mark.parametrize("name", ["16384.sql"])
def test_a_missing_file_of_a_schema_backup_is_named(empty: Vault, name: str) -> None:
    """Likewise."""
    files = files_of(make_logical(type=LogicalType.SCHEMA))
    del files[name.encode()]
    put_logical(empty.repository, files=files, type=LogicalType.SCHEMA)

    assert f"has no file '{name}'" in said(empty)


@pytest.mark.parametrize(
    ("name", "complaint"),
    [
        ("16384/9999.dat", "is in no table of contents"),
        ("5/toc.dat", "belongs to no database"),
        ("5.tables", "belongs to no database"),
        ("odd", "belongs to no database"),
    ],
)
def test_a_file_too_many_is_named(empty: Vault, name: str, complaint: str) -> None:
    """Nobody would restore it: something else is not what it seems."""
    put_logical(empty.repository, files=files_of(make_logical()) | {name.encode(): b"x"})

    assert complaint in said(empty)


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("16384.tables", b"", "0 tables with 0 rows"),
        ("16384.tables", encode_tables(RECORDS[:1]), "1 tables with 40 rows"),
        ("16384.tables", encode_tables(RECORDS) + b"{}\n", "malformed line"),
        ("16384/toc.dat", b"", "ends in the middle"),
        ("16384/toc.dat", b"PGDMQ" + bytes(200), "no table of contents"),
        ("16384/toc.dat", toc_bytes("3456.dat", "blobs_3457.toc")[:-1], "ends in the middle"),
        ("16384/toc.dat", toc_bytes("3456.dat", "3458.dat", "blobs_3457.toc"), "3458.dat' of database"),
        ("16384/blobs_3457.toc", b"", "blob_16390.dat' of database"),
    ],
)
def test_a_file_that_says_something_else_is_named(empty: Vault, name: str, content: bytes, complaint: str) -> None:
    """Well sealed, and not what belongs to the others."""
    put_logical(empty.repository, files=files_of(make_logical()) | {name.encode(): content})

    assert complaint in said(empty)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [({"has_globals": False}, "its root says that it has none"), ({"databases": ()}, "holds no database")],
)
def test_a_root_that_says_something_else_is_named(empty: Vault, changes: dict[str, Any], complaint: str) -> None:
    """A backup of nothing is none."""
    put_logical(empty.repository, files=files_of(make_logical()), **changes)

    assert complaint in said(empty)


def test_other_definitions_than_the_root_says_are_named(empty: Vault) -> None:
    """What later backups are compared with must be what is stored; what pg_dump adds to each dump is no part of it."""
    files = files_of(make_logical(type=LogicalType.SCHEMA))
    put_logical(empty.repository, files=files | {b"16384.sql": b"-- 18.7\n\n" + DEFINITIONS}, type=LogicalType.SCHEMA)
    other = files | {b"16384.sql": b"CREATE TABLE orders (id bigint);\n"}
    empty.verify().require_whole()

    put_logical(empty.repository, SCHEMA, files=other, type=LogicalType.SCHEMA)

    assert f"backup {SCHEMA}: file '16384.sql' of database 'shop – Käse' is not what its root says" in said(empty)


def test_a_schema_backup_needs_no_tables(empty: Vault) -> None:
    """Where its root tells of none."""
    bare = replace(SHOP, table_count=0, row_count=0)
    files = {b"16384.sql": b"CREATE TABLE orders (id int);\n"}
    put_logical(empty.repository, SCHEMA, files=files, type=LogicalType.SCHEMA, has_globals=False, databases=(bare,))

    empty.verify().require_whole()
