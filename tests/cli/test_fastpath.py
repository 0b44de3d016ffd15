from __future__ import annotations

import os
import resource
import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import blake3 as blake3_package
import pytest
from blake3 import blake3

from pgvault.cli.fastpath import SEARCH_PATH, STORE_VARIABLES, is_stored, notes_of, parse
from pgvault.cli.invoking import quick_program
from pgvault.config import SEARCH_PATH as CONFIG_SEARCH_PATH
from pgvault.errors import WalMismatch
from pgvault.instants import SystemClock
from pgvault.postgres.lsn import MIB
from pgvault.postgres.walname import WalSegment
from pgvault.process import Finished, attempt
from pgvault.wal.batch import Batch, push_ready
from tests.archive import ROOT, SYSTEM, Archive, make_control, make_segment, program, small

SLOW = {
    "argparse",
    "boto3",
    "json",
    "logging",
    "numpy",
    "pathlib",
    "psycopg",
    "pydantic",
    "rich",
    "typer",
    "typing",
    "yaml",
}
BARE_SECONDS = 0.014  # of CPU that Python itself takes to start where 50 ms were promised
CPU_SECONDS = 0.050


@pytest.fixture
def data(archive: Archive, tmp_path: Path) -> Path:
    """A data directory with three segments that wait; configuration and cluster are as in `push`."""
    directory = tmp_path / "data"
    (directory / "global").mkdir(parents=True)
    (directory / "global/pg_control").write_bytes(make_control())
    (directory / "pg_wal/archive_status").mkdir(parents=True)
    for number in (5, 6, 7):
        (directory / "pg_wal" / small(number).name).write_bytes(make_segment(small(number)))
        (directory / f"pg_wal/archive_status/{small(number).name}.ready").touch()
    return directory


def push(archive: Archive, data: Path, number: int, *words: str) -> Finished:
    """Push a segment as the server of that data directory does."""
    argv = [*program(), "--config", str(archive.config), "wal", "push", *words, f"pg_wal/{small(number).name}"]
    return attempt(argv, timeout=60, env={"PGVAULT_STATE": str(archive.root.with_name("state"))}, cwd=data)


@pytest.fixture
def ahead(archive: Archive, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first segment was pushed, and so the other two are stored and noted; we stand where the server does."""
    monkeypatch.chdir(data)
    monkeypatch.setenv("PGVAULT_STATE", str(archive.root.with_name("state")))
    for name in STORE_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    batch = Batch(SystemClock(), 2, notes_of(str(archive.config), None))
    push_ready(archive.repository, "main", Path("pg_wal") / small(5).name, batch=batch)


def words(archive: Archive, number: int, *more: str) -> list[str]:
    """The command line of a push."""
    return ["--config", str(archive.config), *more, "wal", "push", f"pg_wal/{small(number).name}"]


def test_the_first_call_does_the_others_work(archive: Archive, data: Path) -> None:
    """They end without the repository, their notes are used up, and a call that comes once more asks it."""
    assert push(archive, data, 5).status == 0
    assert archive.names(SYSTEM) == [small(number).name for number in (5, 6, 7)]
    archive.root.rename(archive.root.with_name("away"))

    assert push(archive, data, 6) == Finished(0, "", "")
    assert push(archive, data, 6).status == 30
    archive.root.with_name("away").rename(archive.root)
    assert push(archive, data, 7, "--json").output == f'{{"name": "{small(7).name}", "outcome": "already there"}}\n'


def change_content(archive: Archive, data: Path) -> None:
    with (data / "pg_wal" / small(6).name).open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"\x5b")


def change_config(archive: Archive, data: Path) -> None:
    archive.config.write_text(archive.config.read_text() + "# more\n")


def tear_note(archive: Archive, data: Path) -> None:
    (note,) = archive.root.with_name("state").rglob(small(6).name)
    note.write_bytes(note.read_bytes()[:-1])


def open_to_all(archive: Archive, data: Path) -> None:
    archive.root.with_name("state").chmod(0o777)


@pytest.mark.parametrize("change", [change_content, change_config, tear_note, open_to_all])
def test_a_note_is_never_believed_blindly(
    archive: Archive, data: Path, ahead: None, change: Callable[[Archive, Path], None]
) -> None:
    """Other content, another configuration, half a note, anybody's note: all of it is for the ordinary way."""
    change(archive, data)

    assert not is_stored(words(archive, 6))
    assert is_stored(words(archive, 7)) is (change in (change_content, tear_note))


def test_notes_are_of_one_cluster_and_one_store(archive: Archive, ahead: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another --cluster, or an environment that leads elsewhere, finds none; each counts once."""
    assert not is_stored(words(archive, 6, "--cluster", "main"))
    with monkeypatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", "http://elsewhere")
        assert not is_stored(words(archive, 6))
    assert is_stored(words(archive, 6))
    assert not is_stored(words(archive, 6))


def test_a_split_brain_is_not_hidden_by_a_note(archive: Archive, data: Path, ahead: None) -> None:
    """A clone with the same configuration and state directory, and other content: its call fails as ever."""
    clone = data.with_name("clone")
    shutil.copytree(data, clone)
    change_content(archive, clone)

    assert push(archive, clone, 6).status == WalMismatch.exit_code
    assert is_stored(words(archive, 6))


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("wal push x", ("x", None, None)),
        ("--config c wal push x", ("x", "c", None)),
        ("wal push x --config=c --cluster main", ("x", "c", "main")),
        ("--config a wal --config b push x", ("x", "b", None)),
        ("wal push", None),
        ("wal push x y", None),
        ("wal fetch x", None),
        ("push wal x", None),
        ("wal push --json x", None),
        ("wal push x --retry-for 5s", None),
        ("wal push x --help", None),
        ("wal push -- x", None),
        ("wal push x --config", None),
        ("wal push x --config --json", None),
        ("--config= wal push x", None),
        ("backup", None),
        ("", None),
    ],
)
def test_only_plain_pushes_are_taken(line: str, expected: object) -> None:
    """The global options anywhere; anything else is for the real parser."""
    assert parse(line.split()) == expected


def test_the_configuration_is_found_as_ever(archive: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """--config, else $PGVAULT_CONFIG, else the same search path; without one, and without a place, no notes."""
    assert tuple(map(Path, SEARCH_PATH)) == CONFIG_SEARCH_PATH
    monkeypatch.setenv("PGVAULT_STATE", str(tmp_path / "state"))
    monkeypatch.delenv("PGVAULT_CONFIG", raising=False)
    monkeypatch.chdir(tmp_path)
    there = notes_of(None, None)
    named = notes_of(str(archive.config), None)
    monkeypatch.chdir("/")
    monkeypatch.setenv("PGVAULT_CONFIG", str(archive.config))
    by_environment = notes_of(None, None)
    assert there is not None
    assert named is not None
    assert by_environment is not None
    there.leave("x", digest=bytes(32), length=1)
    assert named.cover("x")
    assert by_environment.cover("x")

    monkeypatch.setenv("PGVAULT_CONFIG", "/nowhere.yaml")
    assert notes_of(None, None) is None
    monkeypatch.setenv("PGVAULT_STATE", str(archive.config))
    assert notes_of(str(archive.config), None) is None


def cpu_seconds(argv: list[str], cwd: Path, env: Mapping[str, str]) -> float:
    """The CPU time of a program, which must succeed."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    finished = attempt(argv, timeout=60, env=env, cwd=cwd)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert finished.status == 0, finished
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def test_a_call_with_nothing_to_do_takes_under_50_ms_of_cpu(archive: Archive, data: Path, ahead: None) -> None:
    """16 MiB are read and hashed within it. A slow or busy machine is allowed what it makes Python itself take.

    As a suggested archive_command has it: what packages have Python do at its start (.pth files) is left out.
    """
    state = archive.root.with_name("state")
    content = make_segment(WalSegment(1, 6, 16 * MIB))
    (data / "pg_wal" / small(6).name).write_bytes(content)
    notes = notes_of(str(archive.config), None)
    assert notes is not None
    notes.leave(small(6).name, digest=blake3(content).digest(), length=len(content))
    shutil.copytree(state, state.with_name("kept"))
    env = {"PGVAULT_STATE": str(state)}
    bare, ours = [], []
    for _ in range(8):
        bare.append(cpu_seconds([sys.executable, "-S", "-c", "pass"], data, env))
        ours.append(cpu_seconds([*quick_program("pushprogram.py"), *words(archive, 6)], data, env))
        shutil.rmtree(state)
        shutil.copytree(state.with_name("kept"), state)

    assert min(ours) < CPU_SECONDS * max(1, min(bare) / BARE_SECONDS), (sorted(ours), sorted(bare))


def test_a_call_with_nothing_to_do_imports_nothing_slow(archive: Archive, data: Path, ahead: None) -> None:
    """None of the libraries, and not the slow parts of Python's own either."""
    code = (
        "import os, sys\n"
        "def end(status):\n"
        f"    os.write(1, repr((status, sorted({SLOW} & set(sys.modules)))).encode())\n"
        "    sys.exit()\n"
        "os._exit = end\n"
        "from pgvault.cli.main import main\n"
        "main()\n"
    )
    argv = [sys.executable, "-S", "-c", code, *words(archive, 6)]
    packages = Path(blake3_package.__file__).parent.parent
    env = {"PYTHONPATH": f"{ROOT}:{packages}", "PGVAULT_STATE": str(archive.root.with_name("state"))}

    assert attempt(argv, timeout=30, env=env, cwd=data).output == "(0, [])"


def test_what_archive_command_runs_does_all_that_pgvault_does(archive: Archive, data: Path) -> None:
    """It stores a segment and those behind it; the next is done within its short cut; another content is refused."""
    state = archive.root.with_name("state")

    def run(number: int) -> int:
        argv = [*quick_program("pushprogram.py"), *words(archive, number)]
        return attempt(argv, timeout=60, env={"PGVAULT_STATE": str(state)}, cwd=data).status

    assert run(5) == 0
    assert archive.names(SYSTEM) == [small(number).name for number in (5, 6, 7)]
    stored = archive.root.rename(archive.root.with_name("away"))
    assert run(6) == 0
    assert run(6) != 0
    stored.rename(archive.root)
    assert run(6) == 0
    (data / "pg_wal" / small(7).name).write_bytes(make_segment(small(7), fill=b"\xa5"))
    assert run(7) == WalMismatch.exit_code
