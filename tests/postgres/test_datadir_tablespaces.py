"""How tablespaces, wherever they lie, come into the list of a backup's files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from pgvault.errors import SourceUnreadable
from pgvault.postgres.datadir import Entry, EntryKind, check_tablespaces, scan_cluster

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


def scan(pgdata: Path, tablespaces: dict[int, Path]) -> dict[str, Entry]:
    entries = list(scan_cluster(pgdata, tablespaces=tablespaces, version_dir=VERSION_DIR))
    found = {os.fsdecode(entry.path): entry for entry in entries}
    assert len(found) == len(entries)
    return found


@pytest.fixture
def pgdata(tmp_path: Path) -> Path:
    root = tmp_path / "data"
    fill(root, "PG_VERSION", "base/5/", "global/pg_control", "pg_tblspc/", "pg_wal/archive_status/")
    return root


def link_tablespace(pgdata: Path, oid: int, location: Path, target: str | Path | None = None) -> None:
    fill(location, f"{VERSION_DIR}/5/{oid}1")
    (pgdata / f"pg_tblspc/{oid}").symlink_to(target or location)


def listed_tablespaces(found: dict[str, Entry]) -> set[str]:
    return {path for path in found if path.startswith("pg_tblspc/")}


def expected_tablespace(oid: int) -> set[str]:
    root = f"pg_tblspc/{oid}"
    return {root, f"{root}/{VERSION_DIR}", f"{root}/{VERSION_DIR}/5", f"{root}/{VERSION_DIR}/5/{oid}1"}


def test_tablespaces_lie_under_their_link(pgdata: Path, tmp_path: Path) -> None:
    """/ts1 and /ts10, a link to a link, a relative link; relations in them are relations."""
    (tmp_path / "to_ts3").symlink_to(tmp_path / "ts3")
    link_tablespace(pgdata, 1001, tmp_path / "ts1")
    link_tablespace(pgdata, 1002, tmp_path / "ts10")
    link_tablespace(pgdata, 1003, tmp_path / "ts3", tmp_path / "to_ts3")
    link_tablespace(pgdata, 1004, tmp_path / "ts4", "../../ts4")
    tablespaces = {
        1001: tmp_path / "ts1",
        1002: tmp_path / "ts10",
        1003: tmp_path / "to_ts3",
        1004: tmp_path / "ts4",
    }

    check_tablespaces(pgdata, tablespaces)
    found = scan(pgdata, tablespaces)

    assert listed_tablespaces(found) == set().union(*(expected_tablespace(oid) for oid in tablespaces))
    assert found["pg_tblspc/1003"].kind is EntryKind.SYMLINK
    assert found["pg_tblspc/1003"].target == os.fsencode(tmp_path / "to_ts3")
    assert found[f"pg_tblspc/1004/{VERSION_DIR}/5/10041"].is_relation
    assert not found["PG_VERSION"].is_relation


def test_other_versions_in_a_tablespace_are_left_out(pgdata: Path, tmp_path: Path) -> None:
    """After pg_upgrade two versions share the directory; the old one's, and strangers' files, are not ours."""
    link_tablespace(pgdata, 1001, tmp_path / "ts1")
    fill(tmp_path, "ts1/PG_17_202406281/5/1", "ts1/notes.txt", f"ts1/{VERSION_DIR}/pgsql_tmp/pgsql_tmp1.0")
    fill(tmp_path, f"ts1/{VERSION_DIR}/5/7", f"ts1/{VERSION_DIR}/5/7_init", f"ts1/{VERSION_DIR}/5/t1_8")

    found = scan(pgdata, {1001: tmp_path / "ts1"})

    root = f"pg_tblspc/1001/{VERSION_DIR}"
    assert listed_tablespaces(found) == expected_tablespace(1001) | {f"{root}/5/7_init"}


def test_tablespace_inside_pgdata_is_listed_once(pgdata: Path) -> None:
    """Its content stands under pg_tblspc; where it really lies an empty directory remains."""
    link_tablespace(pgdata, 1001, pgdata / "spaces/ts1")
    fill(pgdata, "spaces/ts10/file")

    found = scan(pgdata, {1001: pgdata / "spaces/ts1"})

    inside = {path for path in found if path.startswith("spaces")}
    assert inside == {"spaces", "spaces/ts1", "spaces/ts10", "spaces/ts10/file"}
    assert listed_tablespaces(found) == expected_tablespace(1001)


def test_tablespace_in_place_is_a_directory(pgdata: Path) -> None:
    """allow_in_place_tablespaces: the server calls its location pg_tblspc/1001."""
    fill(pgdata, f"pg_tblspc/1001/{VERSION_DIR}/5/10011")
    tablespaces = {1001: Path("pg_tblspc/1001")}

    check_tablespaces(pgdata, tablespaces)
    found = scan(pgdata, tablespaces)

    assert listed_tablespaces(found) == expected_tablespace(1001)
    assert found["pg_tblspc/1001"].kind is EntryKind.DIRECTORY


def test_tablespace_dropped_before_its_turn_is_left_out(pgdata: Path, tmp_path: Path) -> None:
    """The WAL of the backup drops it again; the same goes for one made since, which that WAL makes."""
    link_tablespace(pgdata, 1001, tmp_path / "ts1")
    link_tablespace(pgdata, 1002, tmp_path / "ts2")

    found = scan(pgdata, {1001: tmp_path / "ts1", 1003: tmp_path / "ts3"})

    assert listed_tablespaces(found) == expected_tablespace(1001)


def test_tablespace_without_its_version_directory_is_refused(pgdata: Path, tmp_path: Path) -> None:
    """An unmounted disk must not look like an empty tablespace."""
    link_tablespace(pgdata, 1001, tmp_path / "ts1")
    (tmp_path / "ts1").rename(tmp_path / "unmounted")

    with pytest.raises(SourceUnreadable, match=VERSION_DIR):
        scan(pgdata, {1001: tmp_path / "ts1"})
    with pytest.raises(SourceUnreadable, match="1001"):
        check_tablespaces(pgdata, {1001: tmp_path / "ts1"})


def test_tablespaces_of_disk_and_server_must_be_the_same(pgdata: Path, tmp_path: Path) -> None:
    """One that only the disk or only the server knows stops the backup before it starts."""
    link_tablespace(pgdata, 1001, tmp_path / "ts1")

    with pytest.raises(SourceUnreadable, match="1001 is in pg_tblspc"):
        check_tablespaces(pgdata, {})
    with pytest.raises(SourceUnreadable, match="1002 is in the server"):
        check_tablespaces(pgdata, {1001: tmp_path / "ts1", 1002: tmp_path / "ts1"})
    check_tablespaces(pgdata, {1001: tmp_path / "ts1"})
