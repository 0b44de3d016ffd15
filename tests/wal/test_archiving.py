from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from pgvault.postgres.lsn import MIB
from pgvault.process import run
from pgvault.repository.walobjects import read_wal_bytes
from pgvault.wal.fetch import FetchOutcome, fetch_wal
from tests.archive import Archive, archive_command, make_segment, program, small
from tests.servers import NEWEST, ServerFactory, older_in_ci
from tests.wal.servers import (
    archiving,
    copy_of,
    failed_count,
    insert_row,
    recovery_settings,
    rows,
    system_of,
    wait_archived,
    wait_until,
)

pytestmark = pytest.mark.cluster


def test_a_server_archives_from_an_empty_environment(server: ServerFactory, major: int, archive: Archive) -> None:
    """Segments and a backup's label arrive as they were, by archive_command alone, without one failure."""
    one = archiving(server, major, archive)
    name = insert_row(one, 1)
    system = system_of(one.data)
    copy_of(one, server.directory())

    wait_until(lambda: any(each.endswith(".backup") for each in archive.names(system)))

    wal, content = read_wal_bytes(archive.repository, "main", system, name)
    assert wal.info.system_identifier == system
    found = one.data / "pg_wal" / name
    if found.exists():
        assert found.read_bytes() == content
    assert one.value("SELECT last_archived_wal IS NOT NULL FROM pg_stat_archiver")
    assert failed_count(one) == 0


@pytest.mark.parametrize("mib", [pytest.param(1, marks=pytest.mark.endurance), 64])
def test_other_segment_sizes_come_back(server: ServerFactory, archive: Archive, tmp_path: Path, mib: int) -> None:
    """initdb --wal-segsize=1 and 64: archived by the server, planned, and fetched byte for byte."""
    one = archiving(server, NEWEST, archive, wal_segsize_mib=mib)
    system = system_of(one.data)
    names = [insert_row(one, number) for number in range(3)]
    for name in names:  # a batch may finish its last one first
        wait_archived(archive, system, name)
    plan = archive.plan(system, segment_size=mib * MIB)
    assert plan.segments[0].last.name == names[-1]

    for name in names:
        assert fetch_wal(lambda: archive.repository, plan, name, tmp_path / "out") is FetchOutcome.DELIVERED
        assert (tmp_path / "out").stat().st_size == mib * MIB
    assert failed_count(one) == 0


def without_key(archive: Archive) -> Callable[[], object]:
    archive.key.rename(archive.key.with_name("away"))
    return lambda: archive.key.with_name("away").rename(archive.key)


def without_root(archive: Archive) -> Callable[[], object]:
    archive.root.rename(archive.root.with_name("away"))
    return lambda: archive.root.with_name("away").rename(archive.root)


def with_a_typo(archive: Archive) -> Callable[[], object]:
    text = archive.config.read_text()
    archive.config.write_text(text + "tipo: 1\n")
    return lambda: archive.config.write_text(text)


def with_a_broken_module(archive: Archive) -> Callable[[], object]:
    # The server runs in an empty environment and in its data directory: only the configuration is in our hands.
    text = archive.config.read_text()
    archive.config.write_bytes(b"\xff\xfe\x00")
    return lambda: archive.config.write_text(text)


@pytest.mark.endurance
def test_every_failure_is_counted_and_heals(server: ServerFactory, archive: Archive) -> None:
    """pg_stat_archiver.failed_count grows with each fault, nothing is lost, and the archiver goes on afterwards."""
    one = archiving(server, NEWEST, archive)
    system = system_of(one.data)
    wait_archived(archive, system, insert_row(one, 0))
    names = []
    for number, fault in enumerate((without_key, without_root, with_a_typo, with_a_broken_module), start=1):
        before = failed_count(one)
        repair = fault(archive)
        names.append(insert_row(one, number))
        wait_until(lambda: failed_count(one) > before)  # noqa: B023  called before the next turn
        repair()
    names.append(insert_row(one, 9))

    for name in names:
        wait_archived(archive, system, name)

    assert set(names) <= set(archive.names(system))


def test_another_clusters_server_can_not_archive_here(server: ServerFactory, archive: Archive, tmp_path: Path) -> None:
    """Two clusters under one name: the second's pushes fail and are counted, the first's WAL stays."""
    name = small(5).name
    (tmp_path / name).write_bytes(make_segment(small(5)))
    run([*program(), "--config", archive.config, "wal", "push", tmp_path / name], timeout=30)
    one = archiving(server, NEWEST, archive)
    system = system_of(one.data)

    insert_row(one, 1)
    wait_until(lambda: failed_count(one) > 0)

    assert archive.names(system) == []
    assert "is not one of cluster 'main'" in one.instance.log_text()


@older_in_ci
def test_a_follower_catches_up_and_takes_over(server: ServerFactory, major: int, archive: Archive) -> None:
    """A standby lives on live fetches; promoted when the old server is done, it archives the next timeline."""
    one = archiving(server, major, archive)
    system = system_of(one.data)
    one.sql("CREATE TABLE rows (number int)")
    copy = copy_of(one, server.directory())
    insert_row(one, 1)
    (copy / "standby.signal").touch()
    fetch = [*program(), "--config", str(archive.config), "wal", "fetch"]
    settings = recovery_settings(fetch, follows=True) | {
        "archive_mode": "on",
        "archive_command": archive_command(archive),
        "wal_retrieve_retry_interval": "200ms",
    }
    other = server.adopt(one.programs, copy, settings=settings)
    wait_until(lambda: rows(other) == [1])
    assert other.value("SELECT pg_is_in_recovery()")

    archive.root.rename(archive.root.with_name("away"))  # an outage does not take a follower down
    wait_until(lambda: "again in" in other.instance.log_text() or "does not" in other.instance.log_text())
    assert rows(other) == [1]
    archive.root.with_name("away").rename(archive.root)

    wait_archived(archive, system, insert_row(one, 2))
    one.stop()
    wait_until(lambda: rows(other) == [1, 2])
    other.sql("SELECT pg_promote()")
    name = insert_row(other, 3)

    wait_archived(archive, system, name)
    assert name.startswith("00000002")
    assert "00000002.history" in archive.names(system)
    assert failed_count(other) == 0
