"""A standby as the source of a backup: what it holds, what ends it, and what it needs its primary for."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest
from psycopg.conninfo import conninfo_to_dict

from pgvault.backup.take import RemoteOrder
from pgvault.config import ClusterConfig
from pgvault.errors import ArchiveNotWorking, OtherCluster, ServerUnfit
from pgvault.instants import SystemClock
from pgvault.monitor.check import check_cluster
from pgvault.monitor.finding import Finding, Level
from pgvault.monitor.status import gather
from pgvault.monitor.tried import Finding as Tried
from pgvault.monitor.walstatus import judge
from pgvault.postgres.control import CONTROL_PATH, ClusterState, read_control
from pgvault.postgres.lsn import Lsn
from pgvault.postgres.server import Session
from pgvault.process import run
from pgvault.recovery.plan import RestoreRequest
from pgvault.recovery.target import ImmediateTarget, LatestTarget, Target, TargetOptions
from pgvault.repository.watermark import read_watermarks
from tests.archive import AT
from tests.cluster.places import OnPhase
from tests.cluster.standbys import Pair, add_standby, impatient, loaded_pair, paused, sums, written_to
from tests.cluster.test_remote import take_over
from tests.servers import MAJORS, NEWEST, Server, ServerFactory
from tests.wal.servers import system_of, wait_until

pytestmark = [pytest.mark.cluster, pytest.mark.endurance]
is_another_major = pytest.mark.skipif(len(MAJORS) < 2, reason="one major is installed")


@pytest.fixture(scope="module")
def pair(templates: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """One primary and its standby."""
    with loaded_pair(templates, NEWEST, tmp_path_factory.mktemp("standby")) as made:
        yield made


@pytest.fixture
def oldest_pair(templates: Path, tmp_path: Path) -> Iterator[Pair]:
    """The same of the oldest major."""
    with loaded_pair(templates, MAJORS[0], tmp_path) as made:
        yield made


@pytest.fixture(scope="module")
def stranger(pair: Pair) -> Server:
    """A server of another cluster."""
    return pair.factory(NEWEST, fresh=True)


def of_backup(target: Target, label: str) -> RestoreRequest:
    """A restore that begins with one backup."""
    return RestoreRequest(target, TargetOptions(), backup_label=label)


def assert_whole(pair: Pair, label: str) -> None:
    """See that the latest state, restored from one backup, is that of the primary, to every index entry."""
    expected = sums(pair.primary.dsn)
    assert expected[0] == expected[1]
    restored = pair.vault.restore(LatestTarget(), request=of_backup(LatestTarget(), label))
    assert pair.vault.verify(restored.directory).status == 0
    server = pair.vault.start(restored.directory)
    try:
        assert sums(server.dsn) == expected
        host = str(conninfo_to_dict(server.dsn)["host"])
        check = [str(server.programs.path("pg_amcheck")), "--install-missing", "--heapallindexed", "-U", "postgres"]
        run([*check, "-h", host, "-d", "postgres"], timeout=120)
    finally:
        server.stop()


@pytest.mark.parametrize("name", ["pair", pytest.param("oldest_pair", marks=is_another_major)])
def test_a_backup_of_a_lagging_standby_restores_to_all_that_its_primary_committed(
    name: str, request: pytest.FixtureRequest
) -> None:
    """Replay stands still for a while under load: the backup is of an old moment, and the WAL makes it whole."""
    pair: Pair = request.getfixturevalue(name)
    received = "SELECT pg_last_wal_receive_lsn() > '{}'::pg_lsn"
    with written_to(pair.primary), paused(pair.standby):
        replayed = pair.standby.value("SELECT pg_last_wal_replay_lsn()")
        wait_until(lambda: pair.standby.value(received.format(replayed)), seconds=60)
        manifest = pair.backup()
        written = pair.vault.position()
    pair.vault.archive_all()

    assert manifest.is_from_standby
    assert manifest.stop_lsn < written
    assert_whole(pair, manifest.label)


def test_a_backup_of_a_busy_standby_restores_to_all_that_its_primary_committed(pair: Pair) -> None:
    """Pages are replayed while they are copied."""
    with written_to(pair.primary):
        manifest = pair.backup()
    pair.vault.archive_all()

    assert_whole(pair, manifest.label)


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


def test_without_a_way_to_an_idle_primary_it_fails_clearly_and_nothing_is_listed(pair: Pair) -> None:
    """The segment in which the backup ends is finished by nobody: it is waited for, and then said what is missing."""
    pair.primary.sql("INSERT INTO rows VALUES (2)")
    pair.wait_replayed()
    before = pair.labels()

    with pytest.raises(ArchiveNotWorking, match="can not finish a segment") as caught:
        pair.backup(impatient(pair.request(with_primary=False)))

    assert "primary_dsn" in str(caught.value.hint)
    assert pair.labels() == before


def test_without_a_way_to_a_primary_that_writes_it_is_waited_for(pair: Pair) -> None:
    """Somebody finishes the segment: that is all that is needed. Watermarks are nobody's then."""
    pair.primary.sql("INSERT INTO rows VALUES (3)")
    pair.wait_replayed()
    marks = watermarks(pair)
    switching = OnPhase({"waiting for WAL": lambda: pair.primary.sql("SELECT pg_switch_wal()")})

    manifest = pair.backup(pair.request(with_primary=False), progress=switching)

    assert manifest.label in pair.labels()
    assert watermarks(pair) == marks


def watermarks(pair: Pair) -> int:
    """How many are stored."""
    return len(list(read_watermarks(pair.archive.repository, "main", system_of(pair.primary.data), since=AT)))


def test_a_primary_that_is_not_the_standbys_is_refused(pair: Pair, stranger: Server) -> None:
    """Another cluster's WAL finishes nothing, nor does another standby; nothing is listed."""
    before = pair.labels()

    for dsn, error in ((stranger.dsn, OtherCluster), (pair.standby.dsn, ServerUnfit)):
        request = replace(pair.request(), connect_primary=partial(Session, dsn))
        with pytest.raises(error, match="primary_dsn"):
            pair.backup(request)

    assert pair.labels() == before


def test_a_directory_of_the_primary_is_not_taken_for_the_standbys(pair: Pair) -> None:
    """Both hold the same system, and may have the same checkpoint."""
    request = replace(pair.request(), data_directory=pair.primary.data)

    with pytest.raises(OtherCluster):
        pair.backup(request)


def test_a_cancelled_query_is_asked_again(pair: Pair) -> None:
    """A standby that lets nobody hold up its replay cancels what stands in the way: not the backup."""
    pair.standby.sql("ALTER SYSTEM SET max_standby_streaming_delay = 0")
    pair.standby.sql("SELECT pg_reload_conf()")
    try:
        with ThreadPoolExecutor(1) as pool, Session(pair.standby.dsn) as session:
            asking = pool.submit(
                session.row, "SELECT count(*), pg_sleep(1) FROM (SELECT FROM public.accounts LIMIT 1) AS one"
            )
            sleeping = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'"
            wait_until(lambda: pair.standby.value(sleeping))
            pair.primary.sql("UPDATE accounts SET balance = balance")
            pair.primary.sql("VACUUM accounts")
            (count, _) = asking.result(60)
        conflicts = pair.standby.value("SELECT sum(confl_snapshot) FROM pg_stat_database_conflicts")
    finally:
        pair.standby.sql("ALTER SYSTEM RESET max_standby_streaming_delay")
        pair.standby.sql("SELECT pg_reload_conf()")

    assert count == 1
    assert int(str(conflicts)) > 0


def config_of(pair: Pair, *, primary_dsn: str | None) -> ClusterConfig:
    return ClusterConfig(dsn=pair.standby.dsn, primary_dsn=primary_dsn, archive_wait=timedelta(seconds=30))


def to_server(config: ClusterConfig) -> Session:
    return Session(config.dsn)


def checked(pair: Pair, primary_dsn: str | None) -> dict[str, Tried]:
    """What `check` finds, by name."""
    config = config_of(pair, primary_dsn=primary_dsn)
    found = check_cluster(
        "main", config, open_repository=lambda: pair.archive.repository, connect=to_server, clock=SystemClock()
    )
    return {each.name: each for each in found}


def judged(pair: Pair, primary_dsn: str | None) -> dict[str, Finding]:
    """What `status` says, by name."""
    config = config_of(pair, primary_dsn=primary_dsn)
    facts = gather("main", config, pair.archive.repository, connect=to_server, clock=SystemClock())
    return {each.name: each for each in judge(facts)}


def test_check_asks_the_primary_and_says_what_it_can_not_know_without(pair: Pair, stranger: Server) -> None:
    """With it a segment is switched there; without, the archive is seen to keep up, and no more is claimed."""
    known, unknown = checked(pair, pair.primary.dsn), checked(pair, None)
    wrong = checked(pair, stranger.dsn)

    assert known["primary"].error is None
    assert known["archiving"].error is None
    assert "the primary's archive_command" in known["archiving"].detail
    assert "archive_timeout is 0" in str(known["archive_timeout"].error)  # as this primary is set
    assert unknown["archiving"].error is None
    assert "nothing was switched" in unknown["archiving"].detail
    assert unknown["primary"].warning
    assert unknown["archive_timeout"].warning
    assert isinstance(wrong["primary"].error, OtherCluster)


def test_status_of_a_standby_tells_its_primarys_wal_or_that_it_is_unknown(pair: Pair) -> None:
    """The lag is that of what the primary has written; the disk is the standby's."""
    with paused(pair.standby):
        pair.primary.sql("INSERT INTO rows VALUES (4)")
        written = Lsn.parse(str(pair.primary.value("SELECT pg_current_wal_insert_lsn()")))
        known, unknown = judged(pair, pair.primary.dsn), judged(pair, None)
        lost = judged(pair, "host=/nowhere")

    assert known["server"].level is Level.OK
    assert Lsn.parse(str(known["server"].figures["lsn"])) >= written
    assert known["WAL lag"].figures["bytes"]
    assert "beside the standby" in known["pg_wal disk"].detail
    assert unknown["server"].level is Level.WARN
    assert unknown["WAL lag"].detail.startswith("unknown")
    assert lost["primary"].level is Level.RED
