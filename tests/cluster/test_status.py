"""`pgvault status` on a real server: green when all is well, and red for the right reason when it is not."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from pgvault.errors import ObjectiveMissed, StoreUnreachable
from pgvault.postgres.walname import WalSegment
from pgvault.repository import layout
from tests.archive import archive_command
from tests.archive import pgvault as program
from tests.cli.here import pgvault
from tests.cluster.places import Place, make_place, set_archive_command
from tests.servers import NEWEST, ServerFactory
from tests.wal.servers import system_of, wait_archived

pytestmark = pytest.mark.cluster

RED = ObjectiveMissed.exit_code
# Nothing is a minute old here, so that nobody knows how long the disk lasts; and nothing was proven yet.
CALM = {"pg_wal disk", "drill", "verify", "escrow", "anomaly", "audit"}


@pytest.fixture(scope="module")
def protected(servers: ServerFactory, tmp_path_factory: pytest.TempPathFactory) -> Place:
    """An archiving server with a backup."""
    if not NEWEST:
        pytest.skip("no PostgreSQL is installed")
    place = make_place(servers, tmp_path_factory.mktemp("status"), NEWEST)
    place.server.sql("ALTER SYSTEM SET archive_timeout = '60s'")
    place.server.sql("SELECT pg_reload_conf()")
    place.server.sql("CREATE TABLE rows (number int)")
    configure(place)
    place.back_up()
    return place


def configure(place: Place, clusters: str = "", *, name: str = "main", root: str | None = None) -> Path:
    """Write a configuration of its server beside the archive's own."""
    path = place.archive.config.with_name(f"status-{name}.yaml")
    path.write_text(
        f"repository:\n  key: file:{place.archive.key}\n"
        f"  copies:\n    primary: {{url: '{root or place.archive.root.as_uri()}'}}\n"
        f'clusters:\n  {name}: {{dsn: "{place.server.dsn}"{clusters}}}\n'
    )
    return path


def look(place: Place, clusters: str = "", **changes: Any) -> tuple[int, dict[str, dict[str, Any]]]:
    """Ask for the status; return the exit status and the findings that are not ok, by name."""
    config = configure(place, clusters, **changes)
    finished = pgvault("--config", config, "status", "--json")
    (cluster,) = json.loads(finished.output)["clusters"]
    return finished.status, {each["name"]: each for each in cluster["findings"] if each["level"] != "ok"}


def reds(found: dict[str, dict[str, Any]]) -> set[str]:
    """What is red, but for the disk: these tests finish segments at a pace that would fill a small one within hours."""
    return {name for name, finding in found.items() if finding["level"] == "red"} - {"pg_wal disk"}


def next_segment(place: Place, *, wait: bool = True) -> str:
    """Commit a row and finish its segment."""
    place.server.sql("INSERT INTO rows VALUES (1)")
    name = str(place.server.value("SELECT pg_walfile_name(pg_current_wal_insert_lsn())"))
    place.server.sql("SELECT pg_switch_wal()")
    if wait:
        wait_archived(place.archive, system_of(place.server.data), name)
    return name


def wait_for(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.05)


@contextmanager
def taken_away(*paths: Path) -> Iterator[None]:
    """Move files or directories aside for a while, behind everybody's back."""
    for path in paths:
        shutil.move(path, path.with_name(f"{path.name}.gone"))
    try:
        yield
    finally:
        for path in paths:
            shutil.rmtree(path, ignore_errors=True)
            shutil.move(path.with_name(f"{path.name}.gone"), path)


def test_green_when_all_is_well(protected: Place) -> None:
    """A backup, every segment, a quiet server: nothing is red, and an idle server lags by nothing."""
    next_segment(protected)

    status, found = look(protected)

    assert status == 0, found
    assert set(found) <= CALM
    finished = pgvault("--config", configure(protected), "status", "--brief")
    assert finished.output.startswith("main: healthy")
    assert finished.output.endswith("/0 s, never drilled\n"), finished.output


def test_a_commit_that_waits_is_bounded_by_archive_timeout(protected: Place) -> None:
    """All finished segments are stored, so the rest is at most archive_timeout old: within the objective or not."""
    next_segment(protected)
    protected.server.sql("INSERT INTO rows VALUES (2)")

    finished = pgvault("--config", configure(protected), "status", "--json")

    (cluster,) = json.loads(finished.output)["clusters"]
    figures = next(each["figures"] for each in cluster["findings"] if each["name"] == "WAL lag")
    assert 0 < figures["bytes"] < 100_000
    assert 0 < figures["seconds"] <= 60
    assert figures["is_upper_bound"]
    time.sleep(1.1)
    strict, found = look(protected, ", objectives: {rpo: 1s}")
    assert strict == RED
    assert reds(found) == {"WAL lag", "objective"}


def break_archiving(place: Place, command: str) -> None:
    """Change archive_command once a push that still runs has ended: it would take the next segment with it."""
    ready = "SELECT count(*) FROM pg_ls_archive_statusdir() WHERE name LIKE '%.ready'"
    wait_for(lambda: place.server.value(ready) == 0)
    set_archive_command(place, command)


def test_a_failing_archiver_is_red(protected: Place) -> None:
    """It is named, with what it failed at; and green again when it stores."""
    break_archiving(protected, "false")
    name = next_segment(protected, wait=False)
    wait_for(lambda: protected.server.value("SELECT last_failed_wal FROM pg_stat_archiver") == name)

    status, found = look(protected)

    assert status == RED
    assert reds(found) == {"archiver"}
    assert name in found["archiver"]["detail"]
    set_archive_command(protected, archive_command(protected.archive))
    wait_archived(protected.archive, system_of(protected.server.data), name)
    wait_for(lambda: look(protected)[0] == 0)


def test_an_archiver_that_stores_nowhere_is_red(protected: Place) -> None:
    """/bin/true satisfies the server; the repository tells."""
    break_archiving(protected, "/bin/true")
    name = next_segment(protected, wait=False)
    wait_for(lambda: protected.server.value("SELECT last_archived_wal FROM pg_stat_archiver") == name)

    status, found = look(protected)

    set_archive_command(protected, archive_command(protected.archive))
    assert status == RED
    assert name in found["archive"]["detail"]
    # The segment is lost to the archive: WAL goes on behind it, and a new backup is the only way out.
    next_segment(protected)
    status, found = look(protected)
    assert (status, reds(found)) == (RED, {"gap"})
    assert name in found["gap"]["detail"]
    data = protected.server.data / "pg_wal" / name
    pushed = program("--config", protected.archive.config, "wal", "push", data)
    assert pushed.status == 0, pushed.errors


def test_a_deleted_segment_is_red(protected: Place) -> None:
    """WAL that was stored and is gone: a gap, with its name, and the lag counts from there."""
    system = system_of(protected.server.data)
    names = [next_segment(protected) for _ in range(3)]

    with taken_away(protected.archive.object_path(names[1], system)):
        status, found = look(protected)

    assert (status, reds(found)) == (RED, {"gap"})
    assert names[1] in found["gap"]["detail"]
    assert found["gap"]["figures"]["start_lsn"] == str(WalSegment.parse(names[1], 2**24).start_lsn)
    assert look(protected)[0] == 0


def test_an_emptied_bucket_is_red(protected: Place) -> None:
    """All is green at the server; nothing is stored any more."""
    root = protected.archive.root
    with taken_away(root / layout.backups("main"), root / "clusters/main/wal"):
        status, found = look(protected)

    assert status == RED
    assert {"backup", "last segment", "archive", "WAL lag"} <= reds(found)
    assert look(protected)[0] == 0


def test_no_backup_is_red(protected: Place) -> None:
    """A cluster that was only ever configured."""
    status, found = look(protected, name="other")

    assert status == RED
    assert {"backup", "last segment"} <= reds(found)


def test_archive_timeout_of_nothing_is_red_without_a_stream(protected: Place) -> None:
    """A commit may wait for ever; unless a stream takes it away at once."""
    protected.server.sql("ALTER SYSTEM SET archive_timeout = 0")
    protected.server.sql("SELECT pg_reload_conf()")
    wait_for(lambda: protected.server.value("SHOW archive_timeout") == "0")

    status, found = look(protected)
    streamed, found_streamed = look(protected, ", stream: {}")

    protected.server.sql("ALTER SYSTEM SET archive_timeout = '60s'")
    protected.server.sql("SELECT pg_reload_conf()")
    assert (status, reds(found)) == (RED, {"archiving"})
    assert streamed == RED
    assert reds(found_streamed) == {"slot"}


def test_the_slot_of_a_stream(protected: Place) -> None:
    """Missing or inactive is red: whoever should receive does not."""
    missing, found_missing = look(protected, ", stream: {slot: ours}")
    protected.server.sql("SELECT pg_create_physical_replication_slot('ours', true)")
    inactive, found_inactive = look(protected, ", stream: {slot: ours}")
    protected.server.sql("SELECT pg_drop_replication_slot('ours')")

    assert (missing, reds(found_missing)) == (RED, {"slot"})
    assert "no slot" in found_missing["slot"]["detail"]
    assert (inactive, reds(found_inactive)) == (RED, {"slot"})
    assert "inactive" in found_inactive["slot"]["detail"]


def test_a_server_that_is_down_is_red_and_the_repository_is_told_of(protected: Place) -> None:
    """Not a crash; and where neither answers, the error says why."""
    protected.server.stop()
    status, found = look(protected)
    finished = pgvault("--config", configure(protected), "status")
    nothing = configure(protected, root=str((protected.archive.root.parent / "nowhere").as_uri()))
    mute = pgvault("--config", nothing, "status")
    protected.server.start()

    assert (status, reds(found)) == (RED, {"server"})
    assert "last segment" in finished.output
    assert mute.status == StoreUnreachable.exit_code, mute.errors


def test_a_repository_that_is_gone_is_red_and_the_server_is_told_of(protected: Place) -> None:
    """The other half is shown all the same."""
    status, found = look(protected, root=str((protected.archive.root.parent / "nowhere").as_uri()))

    assert (status, reds(found)) == (RED, {"repository"})
