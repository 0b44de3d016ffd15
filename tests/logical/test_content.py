"""Files of a logical backup: streamed, or written into a directory, checked to the byte."""

from __future__ import annotations

from pathlib import Path

import pytest

from pgvault.errors import DirectoryNotEmpty, DiskFull, ObjectCorrupt, PgvaultError
from pgvault.instants import SystemClock
from pgvault.logical import content
from pgvault.logical.content import Files, read_file, records_of, write_files
from pgvault.logical.extract import FilesOrder, plan_files, write_archive
from pgvault.process import run
from pgvault.progress import NoProgress
from pgvault.repository.copies import Copy
from pgvault.repository.keys import Credential
from pgvault.repository.repository import Repository, init_repository
from pgvault.restore.files import Effort
from tests.archive import make_archive
from tests.fakes import MemoryStore
from tests.logical.dumps import dump
from tests.repository.logicals import files_of, make_logical, put_logical
from tests.servers import NEWEST, ServerFactory

EFFORT = Effort(2, NoProgress())
FILES = files_of(make_logical())


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


@pytest.fixture
def repository(store: MemoryStore) -> Repository:
    opened, _ = init_repository([Copy("primary", store)], Credential("raw", bytes(32)), now=SystemClock().now())
    return opened


def test_a_file_is_streamed_as_it_was(repository: Repository) -> None:
    """Over as many packs as it takes."""
    manifest = put_logical(repository)
    records = records_of(repository, manifest)

    assert records.keys() == FILES.keys()
    for path, record in records.items():
        assert b"".join(read_file(repository, manifest, record)) == FILES[path]


def test_a_directory_holds_every_file_for_us_alone(repository: Repository, tmp_path: Path) -> None:
    """0600 below 0700, under its own name only when all are there."""
    manifest = put_logical(repository)
    files = Files(list(records_of(repository, manifest).values()), {"extra": b"more"})

    written = write_files(repository, manifest, tmp_path / "out", files, effort=EFFORT)

    paths = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    found = {str(path.relative_to(tmp_path / "out")).encode(): path.read_bytes() for path in paths}
    assert found == FILES | {b"extra": b"more"}
    assert {path.stat().st_mode & 0o777 for path in paths} == {0o600}
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "out", tmp_path / "out" / "16384")} == {0o700}
    assert (written.file_count, written.bytes) == (len(FILES), sum(map(len, FILES.values())))


def test_a_damaged_pack_leaves_nothing(repository: Repository, store: MemoryStore, tmp_path: Path) -> None:
    """Neither a directory that looks whole nor one that is begun."""
    manifest = put_logical(repository)
    path = manifest.packs[-1].path
    store.objects[path] = store.objects[path][:-1] + bytes([store.objects[path][-1] ^ 1])
    files = Files(list(records_of(repository, manifest).values()))

    with pytest.raises(ObjectCorrupt):
        write_files(repository, manifest, tmp_path / "out", files, effort=EFFORT)

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["out", "out.part"])
def test_what_is_there_is_not_touched(repository: Repository, tmp_path: Path, name: str) -> None:
    """Neither a directory that holds something nor the begun one of another restore."""
    manifest = put_logical(repository)
    (tmp_path / name).mkdir()
    (tmp_path / name / "mine").write_text("mine")

    with pytest.raises(DirectoryNotEmpty):
        write_files(repository, manifest, tmp_path / "out", Files([]), effort=EFFORT)

    assert (tmp_path / name / "mine").read_text() == "mine"


def test_room_is_asked_for_before_anything_is_written(
    repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that has less says so with nothing on it."""
    manifest = put_logical(repository)
    files = Files(list(records_of(repository, manifest).values()))
    monkeypatch.setattr(content, "ROOM_LEFT", 1 << 60)

    with pytest.raises(DiskFull):
        write_files(repository, manifest, tmp_path / "out", files, effort=EFFORT)

    assert list(tmp_path.iterdir()) == []


def test_a_pack_that_the_root_does_not_name_is_an_error(repository: Repository) -> None:
    """Not an index out of range."""
    manifest = put_logical(repository)

    with pytest.raises(ObjectCorrupt, match="pack 9999"):
        content.Packs(repository, manifest).open(9999)


def test_postgresql_restores_the_directory_by_itself(servers: ServerFactory, tmp_path: Path) -> None:
    """With nothing of pgvault: whole, and a table of it by the list that lies beside."""
    server = servers(NEWEST)
    server.sql("CREATE DATABASE shop")
    server.sql("CREATE TABLE one AS SELECT g FROM generate_series(1, 1000) g", database="shop")
    server.sql("CREATE TABLE two AS SELECT lo_from_bytea(0, 'abc')", database="shop")
    archive = make_archive(tmp_path)
    manifest = dump(archive.repository, server, tmp_path)
    oid = str(manifest.databases[0].oid)

    for name, tables in (("whole", ()), ("part", ("public.one",))):
        plan = plan_files(archive.repository, manifest, FilesOrder(tmp_path / name, tables=tables))
        write_archive(archive.repository, manifest, plan, effort=EFFORT)
        server.sql(f"CREATE DATABASE {name}")
    restore: list[str | Path] = [server.programs.path("pg_restore"), "--exit-on-error"]
    run([*restore, "-d", server.dsn_of("postgres", "whole"), tmp_path / "whole" / oid], timeout=60)
    listed = f"--use-list={tmp_path / 'part' / oid}.use-list"
    run([*restore, listed, "-d", server.dsn_of("postgres", "part"), tmp_path / "part" / oid], timeout=60)

    assert server.value("SELECT count(*) FROM one", database="whole") == 1000
    assert server.value("SELECT lo_get(lo_from_bytea) FROM two", database="whole") == b"abc"
    assert server.value("SELECT count(*) FROM one", database="part") == 1000
    assert server.value("SELECT to_regclass('two') IS NULL", database="part") is True
    assert not list((tmp_path / "part" / oid).glob("blob*"))


def test_nothing_of_what_was_asked_for_is_an_error(servers: ServerFactory, tmp_path: Path) -> None:
    """Said before anything is written."""
    server = servers(NEWEST)
    server.sql("CREATE DATABASE shop")
    archive = make_archive(tmp_path)
    manifest = dump(archive.repository, server, tmp_path)

    with pytest.raises(PgvaultError, match="'nothing'"):
        plan_files(archive.repository, manifest, FilesOrder(tmp_path / "out", tables=("nothing",)))
