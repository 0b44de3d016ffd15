from __future__ import annotations

import os
from pathlib import Path

import pytest

from pgvault.drill.container import (
    WALDUMP,
    ContainerLauncher,
    Found,
    ImagePrograms,
    read_probe,
    waldump_script,
    with_waldump,
)
from pgvault.drill.engine import Engine, Image, Limits
from pgvault.drill.owning import OWNER
from pgvault.errors import ProgramMissing
from pgvault.process import attempt, run

BIN = Path("/usr/lib/postgresql/18/bin")
PROGRAMS = ImagePrograms(BIN, 18, "18.1", frozenset({"postgres", "pg_amcheck", WALDUMP}))
FOUND = Found(Engine("docker"), Image("postgres:18", "sha256:" + "ab" * 32, None), PROGRAMS, Limits())
PROBED = """\
bin /usr/lib/postgresql/15/bin
postgres (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)
initdb
postgres
bin /usr/lib/postgresql/18/bin
postgres (PostgreSQL) 18.1
postgres
bin /broken
"""


@pytest.fixture
def launcher(tmp_path: Path) -> ContainerLauncher:
    (tmp_path / "conf").mkdir()
    return ContainerLauncher(FOUND, "0a1b2c3d", tmp_path)


def test_every_postgres_of_an_image_is_found() -> None:
    """With the programs beside it; what does not say its version is none."""
    old, new = read_probe(PROBED)

    assert (old.major, old.minor_text, old.names) == (15, "15.14", frozenset({"initdb", "postgres"}))
    assert new.path("postgres") == BIN / "postgres"
    with pytest.raises(ProgramMissing, match=r"PostgreSQL 18.1 in '/usr/lib/postgresql/18/bin', without pg_amcheck"):
        new.path("pg_amcheck")
    assert list(read_probe("")) == []


def test_the_report_names_what_ran() -> None:
    """By its digest where it has one, else by its id."""
    assert str(FOUND) == f"container: docker, image postgres:18 (sha256:{'ab' * 32}), no network"


def test_programs_run_in_containers_of_their_own(launcher: ContainerLauncher, tmp_path: Path) -> None:
    """With the server's mounts and user, standard input open, and what they are to have of an environment."""
    words = [
        launcher.command([BIN / "pg_amcheck", "--all"], env={"PATH": "/bin", "PGOPTIONS": "-c a=b"}) for _ in range(2)
    ]

    first = [str(word) for word in words[0].argv]
    assert words[0].env is None
    assert "--interactive" in first
    assert f"--volume={tmp_path}:{tmp_path}:z" in first
    assert f"--volume={tmp_path}/conf/passwd:/etc/passwd:z" in first
    assert "--env=PGOPTIONS=-c a=b" in first
    assert not [word for word in first if word.startswith("--env=PATH")]
    assert [word for each in words for word in each.argv if str(word).startswith("--name")] == [
        "--name=pgvault-drill-0a1b2c3d-1",
        "--name=pgvault-drill-0a1b2c3d-2",
    ]
    assert first[-2:] == [FOUND.image.id, "--all"]


def test_what_is_bound_is_seen_by_all_that_follow(launcher: ContainerLauncher, tmp_path: Path) -> None:
    """A tablespace of production's path is a directory of the scratch."""
    launcher.bind(Path("/srv/fast"), tmp_path / "made-1")

    assert f"--volume={tmp_path / 'made-1'}:/srv/fast:z" in launcher.command(["sh"], env={}).argv


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
def test_the_user_inside_gets_everything(launcher: ContainerLauncher, tmp_path: Path) -> None:
    """The directory, what lies in it, and links themselves, not what they lead to."""
    kept = tmp_path / "kept"
    kept.touch()
    place = tmp_path / "place"
    (place / "in").mkdir(parents=True)
    (place / "in" / "link").symlink_to(kept)

    launcher.give(place)

    assert {path.lstat().st_uid for path in (place, *place.rglob("*"))} == {OWNER[0]}
    assert kept.stat().st_uid == 0


def test_wal_is_looked_into_by_the_image_where_the_host_can_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a container that sees the one directory of WAL, and not to write; its arguments are pg_waldump's."""
    engine = tmp_path / "docker"
    engine.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    engine.chmod(0o755)
    script = tmp_path / "script"
    script.write_text(waldump_script(FOUND, BIN / WALDUMP))
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")

    said = run(["sh", script, "--path", "/a dir", "0000"], timeout=60).splitlines()

    assert said[:2] == ["run", "--volume=/a dir:/a dir:ro,z"]
    assert f"--user={os.geteuid()}:{os.getegid()}" in said
    assert not [word for word in said if word.startswith("--name")]
    assert said[-4:] == [FOUND.image.id, "--path", "/a dir", "0000"]
    assert attempt(["sh", script, "/a", "0000"], timeout=60).status == 2


def test_a_host_that_has_pg_waldump_uses_its_own(tmp_path: Path) -> None:
    """It is quicker; one without gets a script."""
    other = Found(FOUND.engine, FOUND.image, ImagePrograms(BIN, 99, "99.1", PROGRAMS.names), FOUND.limits)

    assert with_waldump(other, tmp_path).path(WALDUMP) == tmp_path / WALDUMP
    assert os.access(tmp_path / WALDUMP, os.X_OK)
    with pytest.raises(ProgramMissing, match="without pg_waldump"):
        with_waldump(Found(FOUND.engine, FOUND.image, ImagePrograms(BIN, 99, "99.1"), FOUND.limits), tmp_path)
