"""What pgvault reads from a cluster's files, compared with what PostgreSQL's own programs say about them."""

from __future__ import annotations

import os
import re
import shutil
import stat
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import psycopg
import pytest

from pgvault.errors import ObjectCorrupt, ProgramFailed
from pgvault.postgres.control import ControlData, read_control
from pgvault.postgres.datadir import Entry, EntryKind, check_tablespaces, relation_of, scan_cluster
from pgvault.postgres.history import TimelineHistory
from pgvault.postgres.instance import SERVER_ENVIRONMENT
from pgvault.postgres.lsn import MIB, Lsn
from pgvault.postgres.owner import as_server_user
from pgvault.postgres.pages import PAGE_BYTES, check_pages
from pgvault.postgres.walheader import WAL_MAGIC, check_segment, read_long_header
from pgvault.postgres.walname import WalSegment, segment_at, segments_between
from pgvault.process import run
from tests.servers import older_in_ci

if TYPE_CHECKING:
    from tests.servers import Server, ServerFactory

pytestmark = pytest.mark.cluster

SEGMENT_MIB = {15: 1, 16: 4, 17: 16, 18: 64}  # another WAL segment size per major
TABLESPACE_COUNT = 2
NO_CHECK = 2**64 - 1  # a start LSN behind every page


def tool(server: Server, name: str, *arguments: str | Path) -> str:
    """Run one of PostgreSQL's programs as the server's user."""
    argv = as_server_user([server.programs.path(name), *arguments], data=server.data)
    return run(argv, timeout=120, env=SERVER_ENVIRONMENT, cwd=Path("/"))


def controldata(server: Server) -> dict[str, str]:
    lines = tool(server, "pg_controldata", server.data).splitlines()
    return {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}


def as_controldata_prints(control: ControlData) -> dict[str, str]:
    def moment(at: datetime) -> str:
        return at.strftime("%a %b %e %H:%M:%S %Y")

    return {
        "pg_control version number": str(control.pg_control_version),
        "Catalog version number": str(control.catalog_version),
        "Database system identifier": str(control.system_identifier),
        "Database cluster state": control.state.value,
        "pg_control last modified": moment(control.modified_at),
        "Latest checkpoint location": str(control.checkpoint_lsn),
        "Latest checkpoint's REDO location": str(control.redo_lsn),
        "Latest checkpoint's TimeLineID": str(control.checkpoint_timeline),
        "Latest checkpoint's PrevTimeLineID": str(control.previous_timeline),
        "Latest checkpoint's full_page_writes": "on" if control.full_page_writes else "off",
        "Time of latest checkpoint": moment(control.checkpoint_at),
        "Minimum recovery ending location": str(control.min_recovery_lsn),
        "Min recovery ending loc's timeline": str(control.min_recovery_timeline),
        "Backup start location": str(control.backup_start_lsn),
        "Backup end location": str(control.backup_end_lsn),
        "End-of-backup record required": "yes" if control.is_backup_end_required else "no",
        "wal_level setting": ("minimal", "replica", "logical")[control.wal_level],
        "max_connections setting": str(control.max_connections),
        "max_worker_processes setting": str(control.max_worker_processes),
        "max_wal_senders setting": str(control.max_wal_senders),
        "max_prepared_xacts setting": str(control.max_prepared_xacts),
        "max_locks_per_xact setting": str(control.max_locks_per_xact),
        "Database block size": str(control.block_size),
        "Blocks per segment of large relation": str(control.relseg_size),
        "WAL block size": str(control.wal_block_size),
        "Bytes per WAL segment": str(control.wal_segment_size),
        "Data page checksum version": str(control.data_checksum_version),
    }


def assert_control_agrees(server: Server) -> ControlData:
    control = read_control(server.data / "global/pg_control")
    theirs, ours = controldata(server), as_controldata_prints(control)
    assert ours == {key: theirs[key] for key in ours}
    assert control.major == server.programs.major
    return control


def test_pg_control_reads_as_pg_controldata_prints_it(server: ServerFactory, major: int) -> None:
    """All fields that we read, with every setting changed, while it runs, stopped, and after a crash."""
    changed = {
        "wal_level": "logical",
        "max_connections": "33",
        "max_worker_processes": "9",
        "max_wal_senders": "7",
        "max_prepared_transactions": "21",
        "max_locks_per_transaction": "77",
    }
    one = server(major, wal_segsize_mib=SEGMENT_MIB[major], settings=changed)

    running = assert_control_agrees(one)
    assert running.wal_segment_size == SEGMENT_MIB[major] * MIB
    assert (running.max_connections, running.max_prepared_xacts, running.max_locks_per_xact) == (33, 21, 77)
    assert abs((datetime.now(UTC) - running.modified_at).total_seconds()) < 60
    one.kill()
    assert assert_control_agrees(one).state.value == "in production"
    one.start()
    one.stop()
    assert assert_control_agrees(one).state.value == "shut down"
    server_without = server(major, initdb=("--no-data-checksums",) if major >= 18 else (), running=False)
    assert assert_control_agrees(server_without).has_data_checksums == (major < 18)


def test_reading_pg_control_under_checkpoints_never_fails(server: ServerFactory, major: int) -> None:
    """The server rewrites the file in place, again and again; every read is whole and LSNs only rise."""
    one = server(major)
    with psycopg.connect(one.dsn, autocommit=True) as connection:
        seen = []
        for _ in range(30):
            connection.execute("SELECT pg_logical_emit_message(true, 'x', 'y')")
            connection.execute("CHECKPOINT")
            seen += [read_control(one.data / "global/pg_control").checkpoint_lsn for _ in range(10)]

    assert seen == sorted(seen)
    assert len(set(seen)) >= 30


def tree(root: Path) -> dict[str, os.stat_result]:
    """Every file and directory under `root`, tablespaces through their links."""
    found = {}
    for directory, directories, files in os.walk(root, followlinks=True):
        for name in (*directories, *files):
            path = Path(directory, name)
            found[str(path.relative_to(root))] = path.stat()
    return found


def busy_cluster(server: ServerFactory, one: Server) -> dict[int, Path]:
    """Fill a cluster with everything that a backup may meet; returns its tablespaces."""
    tablespaces = {}
    for number in range(TABLESPACE_COUNT):
        location = server.directory()
        one.sql(f"CREATE TABLESPACE ts{number} LOCATION '{location}'")
        tablespaces[int(str(one.value(f"SELECT oid FROM pg_tablespace WHERE spcname = 'ts{number}'")))] = location
        for kind in ("", "UNLOGGED"):
            table = f"t{number}{kind}"
            one.sql(f"CREATE {kind} TABLE {table} (a int PRIMARY KEY, b text) TABLESPACE ts{number}")
            one.sql(f"INSERT INTO {table} SELECT n, repeat('x', 100) FROM generate_series(1, 5000) n")
            one.sql(f"VACUUM {table}")
    one.sql("CREATE DATABASE other TABLESPACE ts0")
    one.sql("CREATE UNLOGGED TABLE u (a serial, b text)", database="other")
    one.sql("CREATE TABLE gone (a int)", database="other")
    one.sql("SELECT pg_create_physical_replication_slot('slot', true)")
    one.sql("CHECKPOINT")
    return tablespaces


def add_debris(data: Path) -> None:
    """Files that crashes, restores and operators leave behind."""
    for name in (
        "postgresql.auto.conf.tmp",
        "current_logfiles.tmp",
        "backup_label",
        "tablespace_map",
        "backup_manifest",
        "pg_stat_tmp/left.over",
        "pg_notify/left.over",
        "base/pgsql_tmp/pgsql_tmp4711.0",
        "base/5/pg_internal.init.4711",
        "base/5/t3_99999",
        "base/5/t3_99999_fsm",
        "extra/42",
        "extra/deeper/pgsql_tmp1",
        "new\nline",
        "odd\udcff",
    ):
        path = data / name
        path.parent.mkdir(exist_ok=True, parents=True)
        path.write_bytes(b"debris")


def scan(one: Server, tablespaces: dict[int, Path]) -> dict[str, Entry]:
    version_dir = read_control(one.data / "global/pg_control").version_directory
    entries = scan_cluster(one.data, tablespaces=tablespaces, version_dir=version_dir)
    return {os.fsdecode(entry.path): entry for entry in entries}


def base_backup(one: Server, target: Path, tablespaces: dict[int, Path]) -> None:
    mapping = [f"--tablespace-mapping={path}={target}-{oid}" for oid, path in tablespaces.items()]
    connection: list[str | Path] = ["-h", one.instance.socket_dir, "-p", str(one.instance.port), "-U", "postgres"]
    tool(one, "pg_basebackup", "-D", target, "-c", "fast", "-X", "none", "--no-manifest", *mapping, *connection)


@older_in_ci
def test_file_set_is_that_of_pg_basebackup(server: ServerFactory, major: int) -> None:
    """Same files, sizes and modes as the server's own backup, tablespaces, debris and odd names included."""
    one = server(major, settings={"summarize_wal": "on"} if major >= 17 else {})
    tablespaces = busy_cluster(server, one)
    add_debris(one.data)
    target = server.directory() / "backup"
    with psycopg.connect(one.dsn, autocommit=True) as session:
        session.execute("CREATE TEMP TABLE temporary AS SELECT generate_series(1, 1000) AS a")
        session.execute("CHECKPOINT")
        check_tablespaces(one.data, tablespaces)
        base_backup(one, target, tablespaces)
        ours = scan(one, tablespaces)

    theirs = tree(target)
    for made_by_backup in ("backup_label", "global/pg_control", "tablespace_map"):
        theirs.pop(made_by_backup, None)
    assert set(ours) == set(theirs)
    for path, entry in ours.items():
        assert (entry.kind is EntryKind.FILE) == stat.S_ISREG(theirs[path].st_mode), path
        if entry.kind is EntryKind.FILE:
            assert entry.size == theirs[path].st_size, path
    linked = {f"pg_tblspc/{oid}" for oid in tablespaces}
    assert {path for path, entry in ours.items() if entry.kind is EntryKind.SYMLINK} == linked
    modes = {path: entry.mode for path, entry in ours.items() if path not in linked}
    assert modes == {path: stat.S_IMODE(theirs[path].st_mode) for path in modes}
    for oid in tablespaces:
        shutil.rmtree(f"{target}-{oid}")


def test_every_relation_that_the_server_knows_is_listed(server: ServerFactory, major: int) -> None:
    """pg_relation_filepath of every permanent relation of every database; of unlogged ones the init fork."""
    one = server(major)
    tablespaces = busy_cluster(server, one)
    ours = scan(one, tablespaces)

    for (database,) in one.sql("SELECT datname FROM pg_database WHERE datallowconn"):
        query = "SELECT pg_relation_filepath(oid), relpersistence FROM pg_class WHERE relfilenode IS NOT NULL"
        known = [row for row in one.sql(query, database=str(database)) if row[0] is not None]
        assert len(known) > 200
        for path, persistence in known:
            wanted = f"{path}_init" if persistence in ("u", b"u") else str(path)
            assert ours[wanted].is_relation


def our_page_errors(one: Server, entries: dict[str, Entry], start_lsn: int) -> tuple[int, set[tuple[str, int]]]:
    """Check every page of every relation; returns the number of pages and the bad ones."""
    relseg_size = read_control(one.data / "global/pg_control").relseg_size
    count, bad = 0, set()
    for path, entry in entries.items():
        if not entry.is_relation:
            continue
        content = Path(os.fsdecode(entry.source)).read_bytes()
        first_block = entry.segment_number * relseg_size
        count += len(content) // PAGE_BYTES
        bad |= {(path, block) for block in check_pages(content, first_block=first_block, start_lsn=start_lsn)}
    return count, bad


@older_in_ci
def test_page_checksums_agree_with_pg_checksums(server: ServerFactory, major: int) -> None:
    """Every page of a real cluster is fine, page for page as many as pg_checksums counts; damage is found by both."""
    one = server(major, initdb=("--data-checksums",))
    tablespaces = busy_cluster(server, one)
    filepath = str(one.value("SELECT pg_relation_filepath('t0')"))
    one.sql("DROP TABLE t0unlogged, t1unlogged")
    one.sql("DROP TABLE u", database="other")
    one.sql("CHECKPOINT")
    one.stop()
    entries = scan(one, tablespaces)

    report = tool(one, "pg_checksums", "--check", one.data)
    count, bad = our_page_errors(one, entries, NO_CHECK)

    scanned = re.search(r"Blocks scanned: +(\d+)", report)
    assert scanned is not None
    assert (count, bad) == (int(scanned[1]), set())

    damaged = one.data / filepath
    with damaged.open("r+b") as file:
        file.seek(7 * PAGE_BYTES + 4321)
        byte = file.read(1)[0]
        file.seek(7 * PAGE_BYTES + 4321)
        file.write(bytes([byte ^ 0x10]))
    with pytest.raises(ProgramFailed, match=r"block 7\b"):
        tool(one, "pg_checksums", "--check", one.data)
    assert our_page_errors(one, entries, NO_CHECK)[1] == {(filepath, 7)}
    assert our_page_errors(one, entries, 1)[1] == set()


def test_wal_headers_and_names_are_the_servers(server: ServerFactory, major: int) -> None:
    """Segments lie where the server's LSNs say, with the magic of its major; a recycled file is noticed."""
    size = SEGMENT_MIB[major] * MIB
    one = server(major, wal_segsize_mib=SEGMENT_MIB[major], settings={"min_wal_size": "512MB"})
    start = Lsn.parse(str(one.value("SELECT pg_current_wal_lsn()")))
    for _ in range(4):
        one.sql("CREATE TABLE IF NOT EXISTS t (a int); INSERT INTO t SELECT generate_series(1, 20000)")
        one.sql("SELECT pg_switch_wal()")
    # Not the insert LSN: behind a switch it already counts the page header of a segment that does not exist yet.
    stop = Lsn.parse(str(one.value("SELECT pg_current_wal_lsn()")))
    identifier = int(str(one.value("SELECT system_identifier FROM pg_control_system()")))

    segments = list(segments_between(1, start, stop, size))
    assert len(segments) >= 4
    for segment in segments:
        named = one.value(f"SELECT pg_walfile_name('{segment.start_lsn + 1}')")
        assert segment.name == named
        header = read_long_header((one.data / "pg_wal" / segment.name).read_bytes()[:40])
        assert header.magic == WAL_MAGIC[major]
        check_segment(header, segment, system_identifier=identifier, major=major)

    one.sql("CREATE TABLE last (); CHECKPOINT")
    recycled = [path for path in (one.data / "pg_wal").glob("0*") if path.name > segments[-1].next().name]
    assert recycled
    for path in recycled:
        with pytest.raises(ObjectCorrupt):
            check_segment(
                read_long_header(path.read_bytes()[:40]),
                WalSegment.parse(path.name, size),
                system_identifier=identifier,
                major=major,
            )


def test_promotion_is_read_from_history_header_and_control(server: ServerFactory, major: int) -> None:
    """The new timeline's history, its first segment with the old one's pages, and pg_control agree on the switch."""
    one = server(major)
    one.sql("CREATE TABLE t AS SELECT generate_series(1, 10000) AS a")
    one.stop()
    (one.data / "standby.signal").touch()
    one.start({"restore_command": "false"})
    one.sql("SELECT pg_promote()")
    one.sql("CHECKPOINT")
    control = read_control(one.data / "global/pg_control")

    history = TimelineHistory.parse((one.data / "pg_wal/00000002.history").read_bytes(), 2)
    assert history.ancestors == (1,)
    assert history.entries[0].reason == "no recovery target specified"
    assert control.checkpoint_timeline == 2
    assert history.timeline_of(control.checkpoint_lsn) == 2
    segment = segment_at(2, history.start_lsn, control.wal_segment_size)
    header = read_long_header((one.data / "pg_wal" / segment.name).read_bytes()[:40])
    assert segment.holds(history.start_lsn)
    assert history.start_lsn > segment.start_lsn
    assert header.timeline == 1
    check_segment(header, segment, system_identifier=control.system_identifier, major=major, history=history)
    check_segment(header, WalSegment(2, segment.number), system_identifier=control.system_identifier, major=major)
    one.stop()
    assert_control_agrees(one)


def test_relation_files_have_names_that_we_know(server: ServerFactory, major: int) -> None:
    """In the database directories of a fresh cluster every file is a relation or one of three known others."""
    one = server(major, running=False)

    names = {os.fsencode(path.name) for path in (*one.data.glob("base/*/*"), *one.data.glob("global/*"))}

    others = {name for name in names if relation_of(name) is None}
    assert others == {b"PG_VERSION", b"pg_filenode.map", b"pg_control"}
