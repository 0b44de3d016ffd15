"""Backups of real servers: what is in them, whatever the cluster holds and whatever happens meanwhile."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from pgvault.backup.batches import BATCH_BYTES
from pgvault.errors import AlreadyRunning, OtherCluster
from pgvault.postgres.control import CONTROL_PATH, parse_control, read_control
from pgvault.postgres.grants import grants_for
from pgvault.postgres.server import Session
from pgvault.process import run
from pgvault.repository.filelist import FileKind, read_records
from pgvault.repository.manifest import Manifest
from pgvault.repository.packs import OpenedPack
from pgvault.restore.files import CONTROL_FILE
from tests.cluster.places import OnPhase, Place, older_places_in_ci, set_archive_command
from tests.servers import NEWEST, Server, ServerFactory

pytestmark = pytest.mark.cluster


def content(place: Place, manifest: Manifest, path: bytes) -> bytes:
    """A file of a backup, its CRCs compared."""
    record = place.files(manifest)[path]
    content = b""
    for extent in record.extents:
        if extent.pack is None:
            content += bytes(extent.length)
        else:
            content += b"".join(OpenedPack(place.archive.repository, manifest.packs[extent.pack]).read(extent))
    return content


def relation_paths(server: Server, database: str) -> set[bytes]:
    """The first file of everything in a database that has one and is neither temporary nor unlogged."""
    found = server.sql(
        "SELECT pg_relation_filepath(oid) FROM pg_class"
        " WHERE pg_relation_filepath(oid) IS NOT NULL AND relpersistence = 'p'",
        database=database,
    )
    return {str(path).encode() for (path,) in found}


@contextmanager
def busy(server: Server, *, clients: int = 2) -> Iterator[None]:
    """pgbench writes as long as this lasts."""
    bench = server.programs.path("pgbench")
    run([bench, "-i", "-q", "-s", "2", server.dsn], timeout=60)
    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(run, [bench, "-n", "-c", str(clients), "-T", "4", server.dsn], timeout=60)
        yield
        writing.result()


def test_backup_of_a_busy_cluster_is_whole(place: Place) -> None:
    """Under pgbench: committed, no page is taken for corrupt, everything reads back, every relation is there."""
    with busy(place.server):
        manifest = place.back_up(jobs=4)
        during = place.server.value("SELECT count(*) FROM pgbench_history")

    assert manifest.page_errors.count == 0
    assert int(str(during)) > 0
    assert relation_paths(place.server, "postgres") <= place.files(manifest).keys()
    assert place.verify().problems == []


@older_places_in_ci
def test_an_idle_cluster_is_backed_up_again_and_again(place: Place) -> None:
    """Each has its own WAL in the repository, though nothing is written in between (pitfall 16)."""
    taken = [place.back_up() for _ in range(2)]

    assert len({manifest.label for manifest in taken}) == 2
    assert {manifest.label for manifest in taken} <= set(place.labels())
    assert all(manifest.wal for manifest in taken)
    assert place.verify().problems == []


def test_a_second_backup_at_once_is_refused(newest: Place) -> None:
    """It names the server process of the first; when that has ended, a backup works again (pitfall 92)."""
    with Session(newest.server.dsn) as first:
        assert first.try_backup_lock() is None
        (pid,) = first.row("SELECT pg_backend_pid()")
        with pytest.raises(AlreadyRunning, match=f"server process {pid}"):
            newest.back_up()
        assert newest.labels() == []

    assert newest.back_up().label in newest.labels()


def test_a_linked_tablespace_directory_is_followed(newest: Place) -> None:
    """An operator may have moved pg_tblspc itself: what lies in it is backed up all the same (pitfall 12)."""
    elsewhere = newest.server.data.with_name("spaces")
    location = newest.server.data.with_name("fast")
    location.mkdir(mode=0o700)
    newest.server.sql(f"CREATE TABLESPACE fast LOCATION '{location}'")
    newest.server.sql("CREATE TABLE moved TABLESPACE fast AS SELECT 1")
    newest.server.stop()
    (newest.server.data / "pg_tblspc").rename(elsewhere)
    (newest.server.data / "pg_tblspc").symlink_to(elsewhere)
    newest.server.start()

    manifest = newest.back_up()

    (path,) = newest.server.sql("SELECT pg_relation_filepath('moved')")[0]
    assert str(path).encode() in {record.path for record in read_records(newest.archive.repository, manifest)}


def test_a_role_with_the_printed_grants_is_enough(place: Place) -> None:
    """No superuser: exactly what `check --print-grants` prints."""
    place.server.sql("CREATE ROLE taker LOGIN")
    for statement in grants_for("taker"):
        place.server.sql(statement)

    manifest = place.back_up(dsn=place.server.dsn_of("taker"))

    assert manifest.label in place.labels()


def test_pg_control_is_opened_last(newest: Place) -> None:
    """After every other file of the cluster, and it holds the checkpoint of this backup (pitfall 7)."""
    opened: list[bytes] = []
    data = os.fsencode(newest.server.data)
    watching = threading.Event()

    def watch(event: str, arguments: tuple[object, ...]) -> None:
        if event == "open" and watching.is_set() and isinstance(arguments[0], str | bytes | os.PathLike):
            path = os.fsencode(arguments[0])
            if path.startswith(data) and not Path(os.fsdecode(path)).is_dir():
                opened.append(path.removeprefix(data + b"/"))

    sys.addaudithook(watch)
    try:
        manifest = newest.back_up(
            progress=OnPhase({"copying": watching.set, "waiting for WAL": watching.clear}), jobs=4
        )
    finally:
        watching.clear()

    inside = [path for path, record in newest.files(manifest).items() if record.kind is FileKind.FILE]
    assert set(opened[opened.index(CONTROL_FILE) :]) == {CONTROL_FILE}  # again, where it was just being written
    assert {path for path in inside if not path.startswith(b"pg_tblspc/")} <= set(opened)
    assert inside[-1] == CONTROL_FILE
    assert parse_control(content(newest, manifest, CONTROL_FILE)).checkpoint_lsn >= manifest.checkpoint_lsn


def test_files_may_come_and_go(newest: Place) -> None:
    """Tables made, filled, truncated and dropped while eight workers copy."""
    stop = threading.Event()

    def churn() -> None:
        number = 0
        while not stop.is_set():
            number += 1
            newest.server.sql(f"CREATE TABLE churn{number} AS SELECT generate_series(1, 3000) AS i")
            newest.server.sql(f"TRUNCATE churn{number}")
            newest.server.sql(f"DROP TABLE churn{number}")

    with ThreadPoolExecutor(1) as pool:
        churning = pool.submit(churn)
        try:
            manifest = newest.back_up(jobs=8)
        finally:
            stop.set()
        churning.result()

    assert manifest.label in newest.labels()
    assert newest.verify().problems == []


def test_relations_that_are_made_anew_stay_behind(newest: Place) -> None:
    """Of an unlogged table only the init fork is kept, of a temporary one nothing (pitfall 10)."""
    newest.server.sql("CREATE UNLOGGED TABLE IF NOT EXISTS fleeting AS SELECT generate_series(1, 1000) AS i")
    main = str(newest.server.value("SELECT pg_relation_filepath('fleeting')")).encode()
    with psycopg.connect(newest.server.dsn, autocommit=True) as session:
        session.execute("CREATE TEMPORARY TABLE mine AS SELECT generate_series(1, 1000) AS i")
        (temporary,) = session.execute("SELECT pg_relation_filepath('mine')").fetchall()[0]
        assert (newest.server.data / temporary).exists()

        files = newest.files(newest.back_up())

    assert main + b"_init" in files
    assert main not in files
    assert temporary.encode() not in files


def test_odd_names_in_the_data_directory(newest: Place) -> None:
    """An operator's files beside PostgreSQL's, whatever they are called (pitfall 13)."""
    odd = {b"caf\xe9.txt", b"new\nline", b'it\'s "quoted"', b"back\\slash", b" leading", b"#=[x]", b"\x1b[31mred"}
    for name in odd:
        path = newest.server.data / os.fsdecode(name)
        path.write_bytes(b"content of " + name)

    manifest = newest.back_up()

    assert odd <= newest.files(manifest).keys()
    assert content(newest, manifest, b"caf\xe9.txt") == b"content of caf\xe9.txt"
    assert newest.verify().problems == []


def test_tablespaces_are_whole(server: ServerFactory, fresh: Place) -> None:
    """Outside PGDATA, one's path the beginning of another's: every relation of every database (pitfall 4)."""
    root = server.directory()
    for name in ("ts1", "ts10", "ts2"):
        (root / name).mkdir()
        fresh.server.sql(f"CREATE TABLESPACE {name} LOCATION '{root / name}'")
        fresh.server.sql(f"CREATE TABLE of_{name} TABLESPACE {name} AS SELECT generate_series(1, 5000) AS i")
    fresh.server.sql("CREATE DATABASE away TABLESPACE ts10")
    fresh.server.sql("CREATE TABLE there AS SELECT generate_series(1, 5000) AS i", database="away")

    manifest = fresh.back_up()

    files = fresh.files(manifest)
    assert relation_paths(fresh.server, "postgres") | relation_paths(fresh.server, "away") <= files.keys()
    assert sorted(manifest.tablespaces.values()) == sorted(str(root / name) for name in ("ts1", "ts10", "ts2"))
    links = {path: record.target for path, record in files.items() if record.kind is FileKind.SYMLINK}
    assert links == {b"pg_tblspc/%d" % oid: os.fsencode(path) for oid, path in manifest.tablespaces.items()}
    assert manifest.tablespace_map.count(b"\n") == 3


def test_what_is_made_before_the_start_is_known(server: ServerFactory, fresh: Place) -> None:
    """A tablespace and a database made while archiving is being proven are older than the backup: they belong to it."""
    root = server.directory()

    def make() -> None:
        fresh.server.sql(f"CREATE TABLESPACE late LOCATION '{root}'")
        fresh.server.sql("CREATE DATABASE late TABLESPACE late")

    manifest = fresh.back_up_when("archiving", make)

    assert list(manifest.tablespaces.values()) == [str(root)]
    assert "late" in manifest.databases.values()
    assert relation_paths(fresh.server, "late") <= fresh.files(manifest).keys()


def test_a_tablespace_may_be_made_and_another_dropped_meanwhile(server: ServerFactory, fresh: Place) -> None:
    """The WAL of the backup knows of both."""
    old, new = server.directory(), server.directory()
    fresh.server.sql(f"CREATE TABLESPACE old LOCATION '{old}'")

    def change() -> None:
        fresh.server.sql("DROP TABLESPACE old")
        fresh.server.sql(f"CREATE TABLESPACE new LOCATION '{new}'")

    manifest = fresh.back_up_when("copying", change)

    assert not [path for path in fresh.files(manifest) if path.startswith(b"pg_tblspc/")]
    assert list(manifest.tablespaces.values()) == [str(old)]


def test_configuration_outside_the_data_directory_comes_along(server: ServerFactory, fresh: Place) -> None:
    """As Debian has it, with includes, one of them by way of '..': each file once, under a path without dots."""
    etc = server.directory()
    (etc / "main" / "conf.d").mkdir(parents=True)
    files = {
        "main/postgresql.conf": "include '../shared.conf'\ninclude_dir 'conf.d'\ninclude 'conf.d/../conf.d/a.conf'\n",
        "main/pg_hba.conf": "local all all trust\n",
        "main/conf.d/a.conf": "work_mem = 5MB\n",
        "main/conf.d/ignored.txt": "nonsense\n",
        "shared.conf": "maintenance_work_mem = 50MB\n",
    }
    for name, text in files.items():
        (etc / name).write_text(text)
    fresh.server.stop()
    fresh.server.instance.config_file = etc / "main" / "postgresql.conf"
    fresh.server.instance.hba_file = etc / "main" / "pg_hba.conf"
    fresh.server.start()
    assert fresh.server.value("SHOW work_mem") == "5MB"

    manifest = fresh.back_up()

    external = {path for path, record in fresh.files(manifest).items() if record.kind is FileKind.EXTERNAL}
    assert external == {os.fsencode(etc / name) for name in files if not name.endswith(".txt")}
    for path in external:
        assert content(fresh, manifest, path) == Path(os.fsdecode(path)).read_bytes()


@pytest.mark.endurance
def test_two_thousand_tables(newest: Place) -> None:
    """Several lists' worth of small files, in a fraction of the time that one process per file would take."""
    newest.server.sql(
        "DO $$ BEGIN FOR i IN 1..2000 LOOP EXECUTE format('CREATE TABLE t%s AS SELECT %s AS i', i, i); END LOOP; END $$"
    )

    manifest = newest.back_up()

    assert relation_paths(newest.server, "postgres") <= newest.files(manifest).keys()
    assert manifest.file_count > 2500
    assert (manifest.stopped_at - manifest.started_at).total_seconds() < 30
    assert newest.verify().problems == []


def test_damage_in_a_heap_is_recorded_and_never_hidden(fresh: Place) -> None:
    """A bit flipped on disk since the last write: counted and named in the manifest, its bytes kept (pitfall 9)."""
    fresh.server.sql("CREATE TABLE victim AS SELECT i, repeat('x', 100) AS t FROM generate_series(1, 5000) i")
    path = str(fresh.server.value("SELECT pg_relation_filepath('victim')"))
    fresh.server.stop()
    file = fresh.server.data / path
    damaged = bytearray(file.read_bytes())
    damaged[7 * 8192 + 4000] ^= 4
    file.write_bytes(damaged)
    fresh.server.start()

    manifest = fresh.back_up()

    assert manifest.page_errors.count == 1
    assert manifest.page_errors.first == (f"{path} block 7",)
    assert content(fresh, manifest, path.encode()) == bytes(damaged)
    (listed,) = fresh.catalog().backups
    assert listed.page_errors == manifest.page_errors


@pytest.mark.endurance
def test_a_large_table_is_cut_and_joined(newest: Place) -> None:
    """One relation in several packs, read by several workers, is the file that was on disk."""
    newest.server.sql(
        "CREATE TABLE large AS SELECT i, md5(i::text) || repeat('abc', 100) AS t FROM generate_series(1, 110000) i"
    )
    newest.server.sql("CHECKPOINT")
    path = str(newest.server.value("SELECT pg_relation_filepath('large')"))

    manifest = newest.back_up(jobs=4)

    record = newest.files(manifest)[path.encode()]
    assert record.size > BATCH_BYTES
    assert len({extent.pack for extent in record.extents}) > 1
    assert content(newest, manifest, path.encode()) == (newest.server.data / path).read_bytes()


def test_nothing_is_stored_in_the_clear(newest: Place) -> None:
    """A word in a table, a table's name, a database's name: none of them is in any stored byte or name."""
    canary = "CANARY-7f3a91c2"
    newest.server.sql(f'CREATE DATABASE "{canary}-database"')
    newest.server.sql(f"CREATE TABLE \"{canary}-table\" AS SELECT '{canary}-row' AS t FROM generate_series(1, 100)")

    manifest = newest.back_up()

    assert f"{canary}-database" in manifest.databases.values()
    stored = [path for path in newest.archive.root.rglob("*") if path.is_file()]
    assert len(stored) > 8
    assert [path for path in stored if canary.encode() in path.read_bytes() or canary in str(path)] == []
    headers = {path.read_bytes()[:8] for path in stored if "clusters" in path.parts and path.name != "refs"}
    assert headers == {b"PGVAULT\n"}


def test_a_crossed_configuration_is_noticed(server: ServerFactory, fresh: Place) -> None:
    """The dsn names one cluster and data_directory another: nothing is copied (pitfall 14)."""
    other = server(NEWEST, fresh=True, running=False)

    with pytest.raises(OtherCluster, match="holds system"):
        fresh.back_up(data=other.data)

    assert [key for key in stored_keys(fresh) if "/backups/" in key] == []


@pytest.mark.parametrize("goes_on", [False, True])
def test_a_copy_of_the_cluster_is_not_the_cluster(server: ServerFactory, fresh: Place, goes_on: bool) -> None:
    """A clone has the same system identifier; whether it lies behind or ran ahead, its checkpoint is not ours."""
    clone = server(NEWEST, running=goes_on)
    if goes_on:
        clone.sql("CREATE TABLE ahead AS SELECT generate_series(1, 400000) AS i")
        clone.sql("CHECKPOINT")
    ahead = read_control(clone.data / CONTROL_PATH)
    ours = fresh.server.value("SELECT system_identifier FROM pg_control_system()")
    assert str(ahead.system_identifier) == str(ours)

    with pytest.raises(OtherCluster, match="does not show in"):
        fresh.back_up(data=clone.data)

    assert fresh.labels() == []
    assert [key for key in stored_keys(fresh) if "/packs/" in key] == []


def test_another_cluster_under_the_same_name_is_refused(server: ServerFactory, fresh: Place) -> None:
    """Two servers, one cluster name in the repository: the second is told so, and nothing of it is stored."""
    fresh.back_up()
    stranger = Place(server(NEWEST, fresh=True, settings={"archive_mode": "on"}), fresh.archive)
    set_archive_command(stranger, "/bin/true")
    before = stored_keys(fresh)

    with pytest.raises(OtherCluster, match="is not one of cluster 'main'"):
        stranger.back_up()

    assert stored_keys(fresh) == before


def stored_keys(place: Place) -> set[str]:
    return {entry.key for entry in place.archive.repository.deciding.store.list("clusters")}
