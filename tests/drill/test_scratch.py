from __future__ import annotations

import fcntl
import os
import signal
import stat
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from pgvault.drill.sandbox import SandboxLauncher
from pgvault.drill.scratch import (
    ENVIRONMENT,
    MARKER,
    PREFIX,
    Scratch,
    clear_leftovers,
    find_place,
    make_instance,
    make_scratch,
    max_wal_bytes,
    remove_scratch,
    server_settings,
)
from pgvault.errors import DrillNotRun
from pgvault.postgres.instance import ServerState, init_cluster
from pgvault.postgres.owner import change_owner
from pgvault.postgres.programs import find_programs
from pgvault.process import attempt, start
from tests.archive import ROOT
from tests.servers import MAJORS, NEWEST, ServerFactory
from tests.wal.servers import wait_until


@pytest.fixture
def place(server: ServerFactory) -> Path:
    """A place with a short path."""
    return server.directory()


@pytest.fixture
def crashed(place: Path) -> Path:
    """What a drill leaves whose process is gone: nobody holds the lock."""
    scratch = make_scratch(place)
    os.close(scratch.lock)
    (scratch.root / "data").mkdir()
    (scratch.root / "data" / "PG_VERSION").write_text("18\n")
    return scratch.root


def test_a_scratch_is_private_and_goes_away(place: Path) -> None:
    """Only its owner gets in; nothing of it stays."""
    scratch = make_scratch(place)

    assert stat.S_IMODE(scratch.root.stat().st_mode) == 0o700
    assert scratch.root.name == f"{PREFIX}{scratch.id}"
    assert "answer=" in scratch.client.read_text()
    remove_scratch(scratch)
    assert list(place.iterdir()) == []


def test_leftovers_of_a_dead_drill_are_removed(place: Path, crashed: Path) -> None:
    """The next drill in the same place clears them away, and makes its own."""
    scratch = make_scratch(place)

    assert list(place.iterdir()) == [scratch.root]
    remove_scratch(scratch)


def test_a_live_drill_stays(place: Path) -> None:
    """Its lock says that it lives, whatever process id it has in its container."""
    alive = make_scratch(place)

    other = make_scratch(place)

    assert alive.client.exists()
    remove_scratch(other)
    assert alive.client.exists()
    remove_scratch(alive)


def test_a_drill_that_is_being_made_stays(place: Path) -> None:
    """Between its directory and what its marker says there is nothing that could be taken for a leftover."""
    root = place / f"{PREFIX}00000000"
    root.mkdir()
    clear_leftovers(place)
    (root / MARKER).touch()
    clear_leftovers(place)

    assert root.exists()


@pytest.mark.parametrize("marker", [None, "", "ffffffff\n", "1 {id}\n", "{id}{id}\n", b"\xff\xfe"])
def test_what_does_not_carry_our_marker_stays(place: Path, crashed: Path, marker: str | bytes | None) -> None:
    """A directory of our kind of name, with no marker or another one, is not ours to remove."""
    path = crashed / MARKER
    path.unlink()
    if isinstance(marker, bytes):
        path.write_bytes(marker)
    elif marker is not None:
        path.write_text(marker.format(id=crashed.name.removeprefix(PREFIX)))

    clear_leftovers(place)

    assert (crashed / "data" / "PG_VERSION").exists()


def test_other_names_stay(place: Path, crashed: Path) -> None:
    """Renamed, it is somebody's copy."""
    for name in ("pgvault-drill-copy", "pgvault", f"{crashed.name}.old"):
        crashed = crashed.rename(place / name)

        clear_leftovers(place)

        assert (crashed / "data" / "PG_VERSION").exists()


def test_a_link_is_never_followed(place: Path, server: ServerFactory) -> None:
    """Neither a directory that is a link, nor a marker that is one, nor a link inside leads out."""
    production = server.directory()
    (production / "data").mkdir()
    (production / "data" / "PG_VERSION").write_text("18\n")
    identity = "0123abcd"
    (production / MARKER).write_text(f"{identity}\n")
    (place / f"{PREFIX}{identity}").symlink_to(production)
    marked_by_link = place / f"{PREFIX}4567abcd"
    marked_by_link.mkdir()
    (place / "marker").write_text("4567abcd\n")
    (marked_by_link / MARKER).symlink_to(place / "marker")
    dead = make_scratch(place)
    os.close(dead.lock)
    (dead.root / "data").symlink_to(production / "data")

    clear_leftovers(place)

    assert (production / "data" / "PG_VERSION").exists()
    assert marked_by_link.exists()
    assert not dead.root.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has directories of others")
def test_directories_of_others_stay(place: Path, crashed: Path) -> None:
    """In /tmp everybody can make a directory with our name and a marker."""
    os.chown(crashed, 65534, 65534)

    clear_leftovers(place)

    assert (crashed / "data" / "PG_VERSION").exists()


def test_what_can_not_be_removed_hinders_nobody(place: Path, crashed: Path) -> None:
    """Clearing up is a courtesy: a place that does not exist, or a file with our name, is passed over."""
    (place / f"{PREFIX}file").touch()

    clear_leftovers(place / "nowhere")
    clear_leftovers(place)

    assert [path.name for path in place.iterdir()] == [f"{PREFIX}file"]


def test_a_scratch_whose_marker_is_gone_is_left_alone(place: Path) -> None:
    """Somebody put another directory in its place: that one is not removed."""
    scratch = make_scratch(place)
    scratch.root.rename(place / "moved")
    scratch.root.mkdir()
    (scratch.root / MARKER).write_text(f"{scratch.id}\n")
    (scratch.root / "theirs").touch()

    with pytest.raises(DrillNotRun, match="does not carry our marker"):
        remove_scratch(scratch)

    assert (scratch.root / "theirs").exists()


def test_a_scratch_that_became_a_link_is_left_alone(place: Path) -> None:
    """Nothing is removed through a link, even when it leads to our own marker."""
    scratch = make_scratch(place)
    scratch.root.rename(place / "moved")
    scratch.root.symlink_to(place / "moved")

    with pytest.raises(DrillNotRun):
        remove_scratch(scratch)

    assert (place / "moved" / MARKER).exists()


@pytest.mark.parametrize(
    ("name", "why"),
    [("absent", "is no directory"), ("file", "is no directory"), ("a,b", "comma"), ("x" * 90, "too long")],
)
def test_a_place_that_can_not_be_one_is_told_first(place: Path, name: str, why: str) -> None:
    """A sentence and a hint, before anything is fetched."""
    if name == "file":
        (place / name).touch()
    elif name != "absent":
        (place / name).mkdir()

    with pytest.raises(DrillNotRun, match=why) as caught:
        find_place(place / name)

    assert caught.value.hint is not None


def test_a_relative_place_is_made_absolute(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server works in another directory than we do."""
    (place / "here").mkdir()
    monkeypatch.chdir(place)

    assert find_place(Path("here")) == place / "here"


def test_an_unwritable_place_is_told(place: Path) -> None:
    """No directory can be made in /proc, whoever we are."""
    with pytest.raises(DrillNotRun, match="no scratch directory can be made in '/proc'"):
        make_scratch(Path("/proc"))


@pytest.mark.cluster
@pytest.mark.parametrize("major", MAJORS)
def test_from_inside_of_a_scratch_libpq_reaches_nothing(major: int) -> None:
    """Of every major, and before it looks for the server; functions that are loaded may hold any address."""
    argv: list[str | Path] = [
        find_programs(major).path("psql"),
        "--no-psqlrc",
        "--dbname=host=/nonexistent dbname=postgres",
    ]

    assert "invalid SSL protocol version range" in attempt(argv, timeout=60, env=ENVIRONMENT).errors


@pytest.mark.cluster
def test_the_server_of_a_dead_drill_is_ended(server: ServerFactory, place: Path) -> None:
    """It would run for ever; a server that only seems to be it is left alone, and so is its directory."""
    programs = find_programs(NEWEST)
    scratch = make_scratch(place)
    init_cluster(programs, scratch.data, options=("--no-sync",))
    instance = make_instance(scratch, programs)
    instance.start()
    instance.wait_ready(30)
    pid = instance.pid
    remove_scratch(make_scratch(place))  # it lives yet
    assert instance.pid == pid is not None

    os.close(scratch.lock)
    clear_leftovers(place)

    assert instance.state() is ServerState.STOPPED
    assert list(place.iterdir()) == []


@pytest.mark.cluster
def test_a_strangers_process_is_not_ended(server: ServerFactory, place: Path, crashed: Path) -> None:
    """A process id in a leftover that belongs to a server elsewhere by now."""
    one = server(NEWEST)
    (crashed / "data" / "postmaster.pid").write_text(f"{one.instance.pid}\n{crashed / 'data'}\n")

    clear_leftovers(place)

    assert one.value("SELECT 1") == 1
    assert not crashed.exists()


def test_the_lock_ends_with_the_process(place: Path) -> None:
    """Killed without a word, its directory is free to be removed."""
    code = "import sys, time, pathlib; from pgvault.drill.scratch import make_scratch as make"
    code += "; make(pathlib.Path(sys.argv[1])); time.sleep(60)"
    child = start([sys.executable, "-c", code, str(place)], env={"PYTHONPATH": str(ROOT)}, log=place / "log")
    wait_until(lambda: list(place.glob(f"{PREFIX}*/walclient.sh")))
    clear_leftovers(place)
    assert list(place.glob(PREFIX + "*"))

    child.signal(signal.SIGKILL)
    child.wait(10)
    clear_leftovers(place)

    assert list(place.glob(PREFIX + "*")) == []


def held(scratch: Scratch) -> bool:
    """Whether somebody holds the lock."""
    with (scratch.root / MARKER).open() as marker:
        try:
            fcntl.flock(marker, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def test_programs_do_not_inherit_the_lock(place: Path) -> None:
    """Else a server that outlives its drill would keep its directory for ever."""
    scratch = make_scratch(place)

    assert held(scratch)
    assert not os.get_inheritable(scratch.lock)
    remove_scratch(scratch)


@pytest.mark.parametrize(
    ("segment_mib", "max_mib", "min_mib"), [(1, 256, 32), (16, 256, 32), (64, 256, 128), (1024, 4096, 2048)]
)
def test_little_wal_is_kept_whatever_the_size_of_segments(segment_mib: int, max_mib: int, min_mib: int) -> None:
    """PostgreSQL starts with neither limit below two segments."""
    settings = server_settings(segment_mib << 20)

    assert (settings["max_wal_size"], settings["min_wal_size"]) == (f"{max_mib}MB", f"{min_mib}MB")
    assert max_wal_bytes(segment_mib << 20) == max_mib << 20


@pytest.mark.skipif(os.geteuid() != 0, reason="only root restores files of others")
def test_a_sandbox_gets_what_was_restored_for_another_user(place: Path) -> None:
    """Root inside a user namespace may not even enter what is postgres's."""
    made = make_scratch(place)
    scratch = replace(made, launcher=SandboxLauncher("bwrap", made.root, find_programs(NEWEST)))
    scratch.data.mkdir()
    change_owner(scratch.data, 65534, 65534)

    scratch.give_all()

    assert {path.stat().st_uid for path in (scratch.data, made.root / "conf", scratch.sockets)} == {0}
    remove_scratch(made)
