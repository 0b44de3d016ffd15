"""A standby as the source of a backup: what it holds, and what ends it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from psycopg.conninfo import conninfo_to_dict

from pgvault.backup.take import RemoteOrder
from pgvault.errors import ServerUnfit
from pgvault.postgres.control import CONTROL_PATH, ClusterState, read_control
from pgvault.postgres.server import Session
from pgvault.process import run
from pgvault.recovery.plan import RestoreRequest
from pgvault.recovery.target import ImmediateTarget, LatestTarget, Target, TargetOptions
from tests.cluster.places import OnPhase
from tests.cluster.standbys import Pair, add_standby, loaded_pair, paused
from tests.cluster.test_remote import take_over
from tests.servers import MAJORS, NEWEST, ServerFactory

pytestmark = [pytest.mark.cluster, pytest.mark.endurance]


@pytest.fixture(scope="module", params=sorted({MAJORS[0], NEWEST}) if MAJORS else [])
def pair(request: pytest.FixtureRequest, templates: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """One primary and its standby."""
    with loaded_pair(templates, request.param, tmp_path_factory.mktemp("standby")) as made:
        yield made


def sums(server_dsn: str) -> list[tuple[object, ...]]:
    """What pgbench keeps in balance, and how much it did."""
    with Session(server_dsn) as session:
        return session.rows(
            "SELECT (SELECT sum(abalance) FROM public.pgbench_accounts), (SELECT sum(bbalance) FROM"
            " public.pgbench_branches), (SELECT sum(delta) FROM public.pgbench_history),"
            " (SELECT count(*) FROM public.pgbench_history)"
        )


def of_backup(target: Target, label: str) -> RestoreRequest:
    """A restore that begins with one backup."""
    return RestoreRequest(target, TargetOptions(), backup_label=label)


def test_a_backup_of_a_lagging_busy_standby_restores_to_all_that_its_primary_committed(pair: Pair) -> None:
    """Replay stands still for a while under load: the backup is of an old moment, and the WAL makes it whole."""
    bench = [str(pair.primary.programs.path("pgbench")), "-n", "-c", "2", "-T", "4", pair.primary.dsn]
    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(run, bench, timeout=120)
        with paused(pair.standby):
            time.sleep(1)  # of load that the standby does not have yet
            manifest = pair.backup()
            behind = pair.standby.value("SELECT pg_last_wal_receive_lsn() - pg_last_wal_replay_lsn()")
        again = pair.backup()  # while it replays as fast as it can
        writing.result()
    vault = pair.vault
    vault.archive_all()
    expected = sums(pair.primary.dsn)

    assert int(str(behind)) > 0
    assert manifest.is_from_standby
    for label in (manifest.label, again.label):
        restored = vault.restore(LatestTarget(), request=of_backup(LatestTarget(), label))
        assert vault.verify(restored.directory).status == 0
        server = vault.start(restored.directory)
        try:
            assert sums(server.dsn) == expected
            host = str(conninfo_to_dict(server.dsn)["host"])
            check = [str(server.programs.path("pg_amcheck")), "--install-missing", "--heapallindexed", "-U", "postgres"]
            run([*check, "-h", host, "-d", "postgres"], timeout=120)
        finally:
            server.stop()


def test_an_idle_standby_is_backed_up_at_once_where_its_primary_is_known(pair: Pair) -> None:
    """Nobody writes: the primary's segment is finished for the backup, and what it holds is whole at its own end."""
    pair.primary.sql("INSERT INTO rows VALUES (1)")
    pair.wait_replayed()

    began = time.monotonic()
    manifest = pair.backup()

    assert time.monotonic() - began < 30
    control = read_control(pair.standby.data / CONTROL_PATH)
    assert control.state is ClusterState.IN_ARCHIVE_RECOVERY
    assert manifest.start_lsn < manifest.stop_lsn <= control.min_recovery_lsn
    restored = pair.vault.finished(ImmediateTarget(), request=of_backup(ImmediateTarget(), manifest.label))
    assert pair.vault.rows(restored) == [1]


def test_a_promotion_during_the_backup_ends_it(pair: Pair, server: ServerFactory) -> None:
    """Whatever was copied is of two servers then: nothing is listed."""
    other = add_standby(server, pair.primary)
    before = pair.labels()
    promoting = OnPhase({"copying": lambda: other.sql("SELECT pg_promote()")})

    with pytest.raises(ServerUnfit, match="promoted"):
        replace(pair, standby=other).backup(progress=promoting)

    assert pair.labels() == before


def test_a_standby_is_backed_up_from_another_host(pair: Pair) -> None:
    """By the replication protocol, while replay stands still: what it sends is whole at the end that it says."""
    pair.primary.sql("CREATE TABLE streamed AS SELECT generate_series(1, 1000) AS number")
    pair.wait_replayed()
    with paused(pair.standby):
        pair.primary.sql("INSERT INTO streamed SELECT generate_series(1001, 2000)")
        manifest = pair.backup(replace(pair.request(), remote=RemoteOrder(pair.standby.dsn)))
    pair.vault.archive_all()

    restored = pair.vault.restore(LatestTarget(), request=of_backup(LatestTarget(), manifest.label))

    assert manifest.is_from_standby
    assert pair.vault.verify(restored.directory).status == 0
    take_over(restored.directory, restored.applied.site.marks)
    server = pair.vault.start(restored.directory)
    assert server.value("SELECT count(*) FROM streamed") == 2000
    server.stop()
