from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgvault.errors import SourceUnreadable
from pgvault.postgres.datadir import Entry, EntryKind, relation_of, scan_cluster

VERSION_DIR = "PG_18_202506291"


def fill(root: Path, *paths: str) -> None:
    """Make files, with the directories above them; a path that ends in / is a directory."""
    for path in paths:
        target = root / path
        if path.endswith("/"):
            target.mkdir(parents=True, exist_ok=True)
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(b"content of " + path.encode())


def scan(pgdata: Path) -> dict[str, Entry]:
    entries = list(scan_cluster(pgdata, tablespaces={}, version_dir=VERSION_DIR))
    found = {os.fsdecode(entry.path): entry for entry in entries}
    assert len(found) == len(entries)
    return found


@pytest.fixture
def pgdata(tmp_path: Path) -> Path:
    root = tmp_path / "data"
    fill(root, "PG_VERSION", "base/5/", "global/pg_control", "pg_tblspc/", "pg_wal/archive_status/")
    return root


BARE = {"PG_VERSION", "base", "base/5", "global", "pg_tblspc", "pg_wal", "pg_wal/archive_status"}


def test_entries_come_in_path_order(pgdata: Path) -> None:
    """Component by component, a directory before its content: base, base/5, …, base.conf."""
    fill(pgdata, "base.conf", "base/5/1", "base/5-x/1", "base/16384/9", "base/5/1.10", "base/5/1.9", "zeta/b", "B/x")

    paths = [entry.path for entry in scan_cluster(pgdata, tablespaces={}, version_dir=VERSION_DIR)]

    assert paths == sorted(paths, key=lambda path: path.split(b"/"))
    assert paths.index(b"base/5/1.9") < paths.index(b"base.conf")


def test_entry_tells_what_it_saw(pgdata: Path) -> None:
    """Kind, size, mode, times and owner are those of the file; the source is absolute."""
    path = pgdata / "base/5/16385"
    path.write_bytes(bytes(8192))
    path.chmod(0o640)
    os.utime(path, ns=(1, 1_700_000_000_123_456_789))
    found = scan(pgdata)

    entry = found["base/5/16385"]
    assert (entry.kind, entry.size, entry.mode) == (EntryKind.FILE, 8192, 0o640)
    assert (entry.mtime_ns, entry.uid, entry.gid) == (1_700_000_000_123_456_789, os.getuid(), os.getgid())
    assert entry.source == os.fsencode(path)
    assert found["base"].kind is EntryKind.DIRECTORY
    assert found["base"].size == 0


def test_contents_are_left_out_and_their_directories_kept(pgdata: Path) -> None:
    """What a server makes anew at start, and WAL, stays behind; the empty directories do not."""
    emptied = ["pg_dynshmem", "pg_notify", "pg_replslot", "pg_serial", "pg_snapshots", "pg_stat_tmp", "pg_subtrans"]
    fill(pgdata, *(f"{name}/inner/file" for name in emptied), "pg_replslot.conf", "my_pg_notify/file")
    fill(pgdata, "pg_wal/000000010000000000000001", "pg_wal/archive_status/x.ready", "pg_wal/summaries/x")

    assert set(scan(pgdata)) == BARE | set(emptied) | {
        "pg_replslot.conf",
        "my_pg_notify",
        "my_pg_notify/file",
        "pg_wal/summaries",
    }


def test_files_of_a_running_server_and_of_earlier_backups_are_left_out(pgdata: Path) -> None:
    """A label of an older backup must never lie beside ours; names that merely look alike stay."""
    fill(
        pgdata,
        *("backup_label", "backup_label.old", "tablespace_map", "tablespace_map.old", "backup_manifest"),
        *("recovery.signal", "standby.signal", "postmaster.pid", "postmaster.opts", ".s.PGSQL.5432.lock"),
        *("postgresql.auto.conf.tmp", "current_logfiles.tmp", "backup_manifest.tmp"),
        *("base/5/pg_internal.init", "global/pg_internal.init.4711", "base/pgsql_tmp/pgsql_tmp1.0"),
        *("base/5/pgsql_tmp12.1", "extra/backup_label"),
    )
    kept = {"postgresql.auto.conf", "current_logfiles", "my_backup_label", "extra/standby.signal", "recovery.signal.d"}
    kept |= {"base/5/pg_filenode.map", "backup_labels"}
    fill(pgdata, *kept)

    assert set(scan(pgdata)) == BARE | kept | {"extra"}


def test_pg_control_is_never_listed(pgdata: Path) -> None:
    """It is copied last, by name; only global/pg_control itself, not another file of that name."""
    fill(pgdata, "extra/pg_control", "global/1262")

    assert set(scan(pgdata)) == BARE | {"extra", "extra/pg_control", "global/1262"}


def test_unlogged_relations_keep_only_their_init_fork(pgdata: Path) -> None:
    """All other forks and segments go, where an init fork lies in the same directory."""
    fill(pgdata, "base/5/100", "base/5/100.1", "base/5/100_fsm", "base/5/100_vm.1", "base/5/100_init")
    fill(pgdata, "base/5/1001", "base/5/10", "base/6/100", "extra/100", "extra/100_init", "base/5/100x")

    kept = {"base/5/100_init", "base/5/1001", "base/5/10", "base/6", "base/6/100", "base/5/100x"}
    assert set(scan(pgdata)) == BARE | kept | {"extra", "extra/100", "extra/100_init"}


def test_temporary_relations_are_left_out(pgdata: Path) -> None:
    """t<backend>_<number> with any fork or segment, in database directories only."""
    fill(pgdata, "base/5/t3_16385", "base/5/t12_16385_fsm", "base/5/t3_16385.1", "base/5/t3_16385_init.2")
    kept = {"base/5/t_16385", "base/5/t3_x", "base/5/tt3_1", "t3_16385", "base/t3_1"}
    fill(pgdata, *kept)

    assert set(scan(pgdata)) == BARE | kept


@pytest.mark.parametrize(
    ("name", "relation"),
    [
        (b"16385", (16385, b"", 0)),
        (b"16385.1", (16385, b"", 1)),
        (b"16385_fsm", (16385, b"_fsm", 0)),
        (b"16385_vm.12", (16385, b"_vm", 12)),
        (b"4294967295_init", (4294967295, b"_init", 0)),
        (b"PG_VERSION", None),
        (b"pg_filenode.map", None),
        (b"16385.", None),
        (b"16385.0", None),
        (b"16385_main", None),
        (b"16385_fsm_vm", None),
        (b"016385", None),
        (b"16385\n", None),
        (b"12345678901", None),
        (b"t3_16385", None),
        ("١".encode(), None),
    ],
)
def test_relation_names_are_number_fork_and_segment(name: bytes, relation: tuple[int, bytes, int] | None) -> None:
    """Anything else in a database directory is not made of checksummed pages."""
    assert relation_of(name) == relation


def test_only_files_of_database_directories_are_relations(pgdata: Path) -> None:
    """pg_xact/0000 and an operator's file 42 carry no page checksums."""
    fill(pgdata, "base/5/42.1", "base/5/42_vm", "base/5/PG_VERSION", "global/1262", "pg_xact/0000", "pg_xact/42", "42")
    fill(pgdata, "base/42", "extra/base/5/42", "pg_multixact/offsets/42", "base/5/sub/42")

    relations = {path: entry.segment_number for path, entry in scan(pgdata).items() if entry.is_relation}

    assert relations == {"base/5/42.1": 1, "base/5/42_vm": 0, "global/1262": 0}


def test_names_are_bytes(pgdata: Path) -> None:
    """Names that are no UTF-8, hold newlines, backslashes, quotes, brackets or leading spaces come through whole."""
    names = [b"\xff\xfe", b"new\nline", b"back\\slash", b"a=b", b"[x]#", b" lead", b'q"uote', "é".encode(), b"\r"]
    for name in names:
        (pgdata / os.fsdecode(name)).write_bytes(b"")

    paths = {entry.path for entry in scan_cluster(pgdata, tablespaces={}, version_dir=VERSION_DIR)}

    assert paths >= set(names)


@given(st.binary(min_size=1, max_size=60))
def test_no_file_name_upsets_the_relation_grammar(name: bytes) -> None:
    """Whatever is accepted prints back to the same name."""
    relation = relation_of(name)
    if relation is not None:
        number, fork, segment = relation
        assert b"%d%s%s" % (number, fork, b".%d" % segment if segment else b"") == name


def test_pgdata_may_be_a_link(pgdata: Path, tmp_path: Path) -> None:
    """It is resolved once: sources lie in the real directory."""
    link = tmp_path / "link"
    link.symlink_to("data")

    found = scan(link)

    assert set(found) == BARE
    assert found["PG_VERSION"].source == os.fsencode(pgdata / "PG_VERSION")


def test_pg_wal_elsewhere_becomes_a_plain_directory(pgdata: Path, tmp_path: Path) -> None:
    """A linked pg_wal is not descended into and not recorded as a link."""
    (pgdata / "pg_wal/archive_status").rmdir()
    (pgdata / "pg_wal").rmdir()
    fill(tmp_path, "wal/archive_status/", "wal/000000010000000000000001")
    (pgdata / "pg_wal").symlink_to(tmp_path / "wal")

    found = scan(pgdata)

    assert set(found) == BARE
    assert found["pg_wal"].kind is EntryKind.DIRECTORY


@pytest.mark.parametrize("target", ["../nowhere/at/all", "PG_VERSION/at/all"])
def test_emptied_directory_may_be_a_link_to_nowhere(pgdata: Path, target: str) -> None:
    """pg_stat_tmp on a memory disk that is gone is an empty directory in the backup."""
    (pgdata / "pg_stat_tmp").symlink_to(target)

    entry = scan(pgdata)["pg_stat_tmp"]

    assert (entry.kind, entry.mode) == (EntryKind.DIRECTORY, 0o700)


def test_moved_server_directories_are_followed(pgdata: Path, tmp_path: Path) -> None:
    """base, a database, pg_xact or a file in them moved to another disk are content, not links."""
    fill(tmp_path, "elsewhere/pg_xact/0000", "elsewhere/7/16385", "elsewhere/relation")
    (pgdata / "pg_xact").symlink_to(tmp_path / "elsewhere/pg_xact")
    (pgdata / "base/7").symlink_to("../../elsewhere/7")
    (pgdata / "base/5/16386").symlink_to(tmp_path / "elsewhere/relation")

    found = scan(pgdata)

    assert set(found) == BARE | {"pg_xact", "pg_xact/0000", "base/7", "base/7/16385", "base/5/16386"}
    assert found["base/7"].kind is EntryKind.DIRECTORY
    assert found["base/7/16385"].is_relation
    assert found["base/5/16386"].kind is EntryKind.FILE


def test_other_links_are_recorded(pgdata: Path, tmp_path: Path) -> None:
    """A log directory or a configuration file elsewhere: the link with its target, nothing behind it."""
    fill(tmp_path, "log/huge.log", "postgresql.conf")
    (pgdata / "log").symlink_to(tmp_path / "log")
    (pgdata / "postgresql.conf").symlink_to("../postgresql.conf")
    (pgdata / "dangling").symlink_to("nowhere")

    found = scan(pgdata)

    assert set(found) == BARE | {"log", "postgresql.conf", "dangling"}
    assert {found[name].kind for name in ("log", "postgresql.conf", "dangling")} == {EntryKind.SYMLINK}
    assert found["log"].target == os.fsencode(tmp_path / "log")
    assert found["postgresql.conf"].target == b"../postgresql.conf"


@pytest.mark.parametrize("link", ["base/7", "base/5/sub", "pg_xact"])
def test_directory_inside_itself_is_refused(pgdata: Path, link: str) -> None:
    """A link that leads back up would never end."""
    (pgdata / link).symlink_to(pgdata)

    with pytest.raises(SourceUnreadable, match="inside itself"):
        scan(pgdata)


@pytest.mark.parametrize("target", ["nowhere", "7"])
def test_server_file_that_can_not_be_followed_is_refused(pgdata: Path, target: str) -> None:
    """A database that is a link to nowhere, or to itself, is not silently left out."""
    (pgdata / "base/7").symlink_to(target)

    with pytest.raises(SourceUnreadable, match="base/7"):
        scan(pgdata)


def test_sockets_and_pipes_are_skipped(pgdata: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading them would hang or fail; the server skips them too."""
    os.mkfifo(pgdata / "pipe")
    monkeypatch.chdir(pgdata)  # a socket's path is short
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(".s.PGSQL.5432")
        assert set(scan(pgdata)) == BARE


def test_what_vanishes_during_the_scan_is_left_out(pgdata: Path) -> None:
    """A file or a whole database dropped after it was listed is no error, and its neighbours stay."""
    fill(pgdata, "base/5/1", "base/5/2", "base/5/3", "base/6/1", "base/7/1")
    entries = scan_cluster(pgdata, tablespaces={}, version_dir=VERSION_DIR)
    seen = []
    for entry in entries:
        seen.append(entry.path)
        if entry.path == b"base/5/1":
            (pgdata / "base/5/2").unlink()
            (pgdata / "base/6/1").unlink()
            (pgdata / "base/6").rmdir()
        if entry.path == b"base/7":  # listed, not yet read
            (pgdata / "base/7/1").unlink()
            (pgdata / "base/7").rmdir()

    assert [path for path in seen if path.startswith(b"base/")] == [b"base/5", b"base/5/1", b"base/5/3", b"base/7"]


@pytest.mark.parametrize("name", ["absent", "file"])
def test_pgdata_that_is_no_directory_is_refused(tmp_path: Path, name: str) -> None:
    """Nothing there is not an empty cluster."""
    fill(tmp_path, "file")

    with pytest.raises(SourceUnreadable, match=name):
        scan(tmp_path / name)
