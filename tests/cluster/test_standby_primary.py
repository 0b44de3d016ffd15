"""What a standby's backup needs its primary for, and what check and status of such a cluster know."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest

from pgvault.config import ClusterConfig
from pgvault.errors import ArchiveNotWorking, OtherCluster, ServerUnfit
from pgvault.instants import SystemClock
from pgvault.monitor.check import check_cluster
from pgvault.monitor.finding import Finding, Level
from pgvault.monitor.status import gather
from pgvault.monitor.tried import Finding as Tried
from pgvault.monitor.walstatus import judge
from pgvault.postgres.lsn import Lsn
from pgvault.postgres.server import Session
from pgvault.repository.watermark import read_watermarks
from tests.archive import AT
from tests.cluster.places import OnPhase
from tests.cluster.standbys import Pair, impatient, loaded_pair, paused
from tests.servers import NEWEST, ServerFactory
from tests.wal.servers import system_of

pytestmark = [pytest.mark.cluster, pytest.mark.endurance]


@pytest.fixture(scope="module")
def pair(templates: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """One primary and its standby."""
    with loaded_pair(templates, NEWEST, tmp_path_factory.mktemp("standby")) as made:
        yield made


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


def test_a_primary_that_is_not_the_standbys_is_refused(pair: Pair, server: ServerFactory) -> None:
    """Another cluster's WAL finishes nothing, nor does another standby; nothing is listed."""
    stranger = server(pair.primary.programs.major, fresh=True)
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
                session.row, "SELECT count(*), pg_sleep(1.5) FROM (SELECT FROM public.pgbench_branches) AS branches"
            )
            time.sleep(0.3)
            pair.primary.sql("UPDATE pgbench_branches SET filler = 'x'")
            pair.primary.sql("VACUUM pgbench_branches")
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


def test_check_asks_the_primary_and_says_what_it_can_not_know_without(pair: Pair, server: ServerFactory) -> None:
    """With it a segment is switched there; without, the archive is seen to keep up, and no more is claimed."""
    known, unknown = checked(pair, pair.primary.dsn), checked(pair, None)
    wrong = checked(pair, server(pair.primary.programs.major, fresh=True).dsn)

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
