"""Drills in real containers, by podman; and by docker's own client, where there is one, that talks to podman."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from pgvault.config import CheckConfig
from pgvault.demo import shop
from pgvault.drill.report import DrillReport
from pgvault.drill.rpo import FailureMoment
from pgvault.drill.scratch import PREFIX
from pgvault.errors import ProgramMissing
from pgvault.postgres.programs import Programs
from pgvault.process import attempt, run
from tests.cluster.drills import Stage, digest, make_stage, write_orders
from tests.cluster.test_drill import UNWRITTEN
from tests.cluster.test_drill_red import flip, only_failed, segment
from tests.containers import PODMAN, container_wish, containers, containers_of, docker_by_podman
from tests.servers import MAJORS, NEWEST, ServerFactory

ROOT = Path(__file__).resolve().parents[2]

pytestmark = [pytest.mark.cluster, pytest.mark.endurance]


def zero(name: str, query: str) -> CheckConfig:
    """A check that finds rows unless what it says is so; it reads no table."""
    return CheckConfig(name=name, query=query, allow_empty=True)


def inside(stage: Stage) -> tuple[CheckConfig, ...]:
    """Look at what the server can see and do, from inside."""
    status = r"regexp_split_to_table(pg_read_file('/proc/1/status'), '\n') AS line"
    production = " UNION ALL ".join(
        f"SELECT * FROM pg_ls_dir('{path}', true, false)"
        for path in (stage.server.data, stage.archive.root, Path.cwd())
    )
    return (
        zero("no network", "SELECT name FROM pg_ls_dir('/sys/class/net') AS name WHERE name <> 'lo'"),
        zero("no capability", rf"SELECT line FROM {status} WHERE line ~ '^Cap(Eff|Prm|Bnd):' AND line !~ '\t0+$'"),
        zero("no new privileges", rf"SELECT line FROM {status} WHERE line ~ '^NoNewPrivs:' AND line !~ '\t1$'"),
        zero("not root", rf"SELECT line FROM {status} WHERE line ~ '^[UG]id:' AND line ~ '\t0(\t|$)'"),
        zero("read-only", r"SELECT m FROM pg_read_file('/proc/1/mounts') AS m WHERE m !~ '(^|\n)\S+ / \S+ ro,'"),
        zero("nothing of this host", production),
    )


@pytest.fixture(scope="module")
def stage(templates: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """A shop with a tablespace, backed up, with orders after it; drills of it run in a container."""
    wish = container_wish(NEWEST)
    factory = ServerFactory(templates)
    try:
        made = make_stage(factory, NEWEST, tmp_path_factory.mktemp("contained"))
        made.server.sql(f"CREATE TABLESPACE fast LOCATION '{factory.directory()}'")
        made.server.sql("CREATE TABLE there TABLESPACE fast AS SELECT generate_series(1, 1000) AS a")
        made.backup()
        made.server.sql("INSERT INTO there VALUES (1001)")
        write_orders(made.server.dsn)
        made.archive_all()
        yield replace(made, isolation=wish)
    finally:
        factory.clear()


def drill(stage: Stage, **changes: object) -> DrillReport:
    """Drill; no container is left behind."""
    report = stage.drill(**changes)
    assert containers_of(stage.scratch) == []
    return report


def test_a_good_backup_passes(stage: Stage) -> None:
    """With a tablespace; all of it runs inside, where nothing of this host is, and the report names the image."""
    there = CheckConfig(name="there", query="SELECT count(*) FROM there", threshold=1e9)
    stage.server.sql("CHECKPOINT")
    before, archived = digest(stage.server.data, without=UNWRITTEN), stage.names()

    report = drill(stage, checks=(*shop.CHECKS, there, *inside(stage)))

    assert report.passed, report.reason
    assert {check.name: check.measured for check in report.checks}["there"] == 1001
    assert "pg_amcheck" in {check.name for check in report.checks}
    assert report.isolation is not None
    assert report.isolation.startswith(
        f"container: podman, image {stage.isolation.image} (localhost/pgvault-postgres@sha256:"
    )
    assert (digest(stage.server.data, without=UNWRITTEN), stage.names()) == (before, archived)


def test_dockers_client_runs_the_same(stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every word that we say is one of docker's."""
    with docker_by_podman(tmp_path, monkeypatch):
        report = drill(stage, isolation=container_wish(NEWEST, engine="docker"), checks=(*shop.CHECKS, *inside(stage)))

    assert report.passed, report.reason
    assert report.isolation is not None
    assert report.isolation.startswith("container: docker, image ")


def test_lost_wal_is_red(stage: Stage, tmp_path: Path) -> None:
    """Known when it is planned, and when it is only found out while it is replayed."""
    gone, broken = stage.copied(tmp_path / "gone"), stage.copied(tmp_path / "broken")
    segment(gone, -2).unlink()
    flip(segment(broken, 1))

    for damaged, why in ((gone, "is missing"), (broken, "object 'clusters/main/wal/")):
        report = drill(damaged)
        assert report.could_run
        assert why in report.reason
        assert not report.passed


def test_a_flipped_page_is_red(stage: Stage, server: ServerFactory, tmp_path: Path) -> None:
    """It was so at the source; pg_amcheck finds it inside."""
    one = make_stage(server, NEWEST, tmp_path)
    path = one.server.data / str(one.server.value("SELECT pg_relation_filepath('order_items')"))
    one.server.sql("CHECKPOINT")
    one.server.stop()
    flip(path)
    one.server.start()
    one.backup()

    failed = only_failed(drill(replace(one, isolation=stage.isolation), checks=()))

    assert "invalid page in block" in failed["pg_amcheck"]


@pytest.mark.skipif(len(MAJORS) < 2, reason="only one PostgreSQL is installed")
def test_a_tablespace_that_replayed_wal_makes(server: ServerFactory, tmp_path: Path) -> None:
    """At its path lies a directory of the scratch; by Debian's PostgreSQL 15, which is on no PATH of its image."""
    wish = container_wish(15)
    one, place = make_stage(server, 15, tmp_path), server.directory()
    one.backup()
    one.server.sql(f"CREATE TABLESPACE late LOCATION '{place}'")
    one.server.sql("CREATE TABLE t TABLESPACE late AS SELECT generate_series(1, 1000) AS a")
    one.archive_all()
    one.server.stop()
    before = digest(place)
    there = CheckConfig(name="there", query="SELECT count(*) FROM t", threshold=1e9)

    report = drill(replace(one, isolation=wish), checks=(*shop.CHECKS, there))

    assert report.passed, report.reason
    assert {check.name: check.measured for check in report.checks}["there"] == 1000
    assert [note for note in report.notes if str(place) in note]
    assert digest(place) == before


def test_a_host_without_postgresql(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """Planning looks into WAL, and so does the drill: by the image's own pg_waldump."""

    def none(major: int) -> Programs:
        raise ProgramMissing(f"no PostgreSQL {major} programs on this machine")

    for module in ("pgvault.drill.container", "pgvault.drill.isolation"):
        monkeypatch.setattr(f"{module}.find_programs", none)

    report = drill(stage, failure=FailureMoment(datetime.now(UTC), is_server_clock=True))

    assert report.passed, report.reason
    assert report.rpo is not None


def test_without_the_image_it_could_not_run(stage: Stage) -> None:
    """Nothing is pulled; the hint says how. One of another major is told before anything is fetched."""
    for image, why in (
        ("localhost/pgvault-nothing:1", "podman has no image 'localhost/pgvault-nothing:1'"),
        ("localhost/pgvault-base:bookworm", "has no PostgreSQL"),
    ):
        report = drill(stage, isolation=container_wish(NEWEST, image=image))
        assert not report.could_run
        assert why in report.reason
        assert "fetch" not in report.phases


def test_a_server_that_takes_too_much_memory_says_nothing_about_the_backup(stage: Stage) -> None:
    """It is killed for its limit: could not run, not failed."""
    greedy = CheckConfig(
        name="greedy", query="SELECT length(string_agg(repeat('x', 1000000), '')) FROM generate_series(1, 900)"
    )

    report = drill(stage, isolation=container_wish(NEWEST, memory="300m"), checks=(greedy,))

    assert only_failed(report)
    assert not report.could_run
    assert "was killed" in report.reason


def test_a_killed_drill_is_ended_by_the_next(stage: Stage) -> None:
    """By its own label: containers of another drill, that lives, and what is not ours stay."""
    image = stage.isolation.image
    assert image is not None
    words = ["podman", "run", "--detach", "--rm", "--label=org.pgvault.drill=ffffffff", "--network=none"]
    other = run([*words, image, "sleep", "600"], timeout=60).strip()
    try:
        died = die_in_replay(stage)
        assert PODMAN.ask("ps", "--quiet", f"--filter=label=org.pgvault.drill={died}").output.split() != []

        report = stage.drill()

        assert report.passed, report.reason
        assert containers(died) == []
        assert containers("ffffffff") == [other[:12]]
    finally:
        run(["podman", "rm", "--force", other], timeout=60)


def die_in_replay(stage: Stage) -> str:
    """Run a drill in a process of its own that is killed once its server asks for WAL; return its id."""
    words: list[str | Path] = [
        sys.executable,
        "-m",
        "tests.cluster.dying",
        stage.archive.root,
        stage.scratch,
        stage.isolation.image or "",
    ]
    ended = attempt(words, timeout=300, env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert ended.status == -signal.SIGKILL, ended
    (left,) = stage.scratch.iterdir()
    return left.name.removeprefix(PREFIX)
