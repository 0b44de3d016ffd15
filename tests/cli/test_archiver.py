from __future__ import annotations

import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pgvault.cli.archiver import is_wal_command
from pgvault.cli.wal import wal
from pgvault.errors import WAL_ABSENT_EXIT
from pgvault.postgres.lsn import MIB
from pgvault.process import Process, run, start
from pgvault.repository.systems import System, record_system
from tests.archive import AT, KEY, ROOT, SYSTEM, Archive, make_segment, pgvault, program, small, write_config

HEAVY = {"awscrt", "boto3", "botocore", "click", "numpy", "psycopg", "rich", "typer"}


@pytest.fixture
def segment(tmp_path: Path) -> Path:
    """A segment of 1 MiB, to be pushed."""
    path = tmp_path / small(5).name
    path.write_bytes(make_segment(small(5)))
    return path


@pytest.fixture
def plan(archive: Archive, segment: Path, tmp_path: Path) -> Path:
    """A plan that lists that segment, which is archived."""
    assert pgvault("--config", archive.config, "wal", "push", segment).status == 0
    archive.plan(SYSTEM, segment_size=MIB).save(tmp_path / "plan.json")
    return tmp_path / "plan.json"


@pytest.mark.parametrize(
    ("words", "ours"),
    [
        ("wal push x", True),
        ("wal fetch a b --plan p", True),
        ("--config c wal push x", True),
        ("--config=c --cluster=main wal fetch a b", True),
        ("wal --config c push x", True),
        ("wal push --help", False),
        ("wal", False),
        ("wal --help", False),
        ("walk push", False),
        ("backup wal push", False),
        ("--config wal push", False),
        ("", False),
    ],
)
def test_wal_commands_are_told_from_all_others(words: str, ours: bool) -> None:
    """By the first words behind the global options, and never when help is wanted."""
    assert is_wal_command(words.split()) is ours


def test_neither_command_loads_what_it_does_not_need(archive: Archive, segment: Path, plan: Path) -> None:
    """A push to a directory and a fetch from it do without typer, boto3, psycopg, numpy and rich.

    Also where an async copy is in S3: what a push does not wait for may cost it nothing.
    """
    with_copy = archive.config.with_name("copies.yaml")
    text = archive.config.read_text()
    with_copy.write_text(text.replace("clusters:", "    dr: {url: 's3://bucket/copy'}\nclusters:", 1))
    for config, *words in (
        [archive.config, "push", str(segment)],
        [with_copy, "push", str(segment)],
        [archive.config, "fetch", "--plan", str(plan), segment.name, str(segment) + ".out"],
    ):
        code = (
            "import os, sys\n"
            "from pgvault.cli import main\n"
            "def end(status):\n"
            f"    heavy = {HEAVY} & set(sys.modules)\n"
            "    sys.stdout.write(f'{status} {sorted(heavy)}')\n"
            "    sys.stdout.flush()\n"
            "    sys.exit()\n"
            "os._exit = end\n"
            "main.main()"
        )
        argv = [sys.executable, "-c", code, "--config", str(config), "wal", *map(str, words)]
        assert run(argv, timeout=30, env={"PYTHONPATH": str(ROOT)}) == "0 []"


def test_options_may_stand_before_and_behind(archive: Archive, segment: Path) -> None:
    """--config and --cluster count wherever they stand, the last one wins."""
    config = str(archive.config)

    assert pgvault("--config", config, "wal", "push", segment).status == 0
    assert pgvault("wal", "push", segment, "--config", config, "--cluster", "main").status == 0
    assert pgvault("--cluster=main", "wal", "--config=/nowhere", "push", "--config", config, segment).status == 0
    assert pgvault("wal", "push", segment, "--config", config, "--cluster", "other").status == 10
    assert pgvault("wal", "push", segment, cwd=archive.config.parent).status == 0


def test_a_push_says_nothing_unless_asked(archive: Archive, segment: Path) -> None:
    """A server's log has no room for a line per segment; --json gives one document."""
    quiet = pgvault("--config", archive.config, "wal", "push", segment)
    assert (quiet.status, quiet.output, quiet.errors) == (0, "", "")

    told = pgvault("--config", archive.config, "wal", "push", "--json", segment)
    assert told.output == f'{{"name": "{segment.name}", "outcome": "already there"}}\n'


def test_every_failure_of_a_push_is_counted(archive: Archive, segment: Path, tmp_path: Path) -> None:
    """Whatever is wrong, the status lies in 1 to 125 and one sentence says what."""
    other = tmp_path / "other-key"
    other.write_text(bytes(reversed(KEY)).hex())
    write_config(tmp_path / "wrong-key.yaml", other, archive.root.as_uri())
    write_config(tmp_path / "no-root.yaml", archive.key, (tmp_path / "unmounted").as_uri())
    (tmp_path / "empty").mkdir()
    write_config(tmp_path / "empty.yaml", archive.key, (tmp_path / "empty").as_uri())
    config = str(archive.config)
    odd = tmp_path / "000000010000000000000005.tmp"
    odd.write_bytes(segment.read_bytes())
    cases: dict[str, list[str | Path]] = {
        "2 a": ["wal", "push", odd, "--config", config],
        "2 b": ["wal", "push", "--config", config],
        "2 c": ["wal", "push", segment, "--bogus", "--config", config],
        "2 d": ["wal", "push", segment, "--retry-for", "soon", "--config", config],
        "10": ["wal", "push", segment, "--config", "/nowhere.yaml"],
        "14": ["wal", "push", segment, "--config", tmp_path / "wrong-key.yaml"],
        "15": ["wal", "push", segment, "--config", tmp_path / "empty.yaml"],
        "29": ["wal", "push", tmp_path / small(6).name, "--config", config],
        "30": ["wal", "push", segment, "--config", tmp_path / "no-root.yaml"],
    }

    for expected, words in cases.items():
        finished = pgvault(*words)
        assert finished.status == int(expected.split()[0]), (words, finished)
        assert "error: " in finished.errors
        assert "Traceback" not in finished.errors


def test_an_unforeseen_error_is_a_plain_failure(archive: Archive, segment: Path, tmp_path: Path) -> None:
    """A module that breaks gives a traceback and status 1, for both commands."""
    (tmp_path / "poison").mkdir()
    (tmp_path / "poison/zstandard.py").write_text("raise RuntimeError('poison')\n")
    words = program(python_path=f"{tmp_path / 'poison'}:{ROOT}")
    for command in (["push", str(segment)], ["fetch", segment.name, str(tmp_path / "x")]):
        log = tmp_path / f"{command[0]}.log"
        child = start([*words, "--config", str(archive.config), "wal", *command], env={}, log=log)
        assert child.wait(30) == 1
        assert "poison" in log.read_text()


def test_a_copy_that_only_backups_wait_for_costs_a_push_nothing(archive: Archive, segment: Path) -> None:
    """Its disk is gone: not so much as the first push of a cluster hears of it."""
    archive.config.write_text(
        archive.config.read_text().replace(
            "clusters:", f"    nas: {{url: '{archive.root.parent.as_uri()}/gone', backups: sync}}\nclusters:"
        )
    )

    done = pgvault("--config", archive.config, "wal", "push", segment)

    assert done.status == 0, done.errors
    assert archive.names(SYSTEM) == [segment.name]


def test_closed_streams_change_nothing(archive: Archive, segment: Path) -> None:
    """Neither a full stdout nor missing streams turn a success into a failure, or the other way round."""
    push = " ".join([*program(), "--config", str(archive.config), "wal push"])

    assert run(["sh", "-c", f"{push} --json {segment} >/dev/full 2>/dev/full; echo $?"], timeout=30) == "0\n"
    assert run(["sh", "-c", f"{push} {segment} <&- >&- 2>&-; echo $? >{segment}.status"], timeout=30) == ""
    assert Path(f"{segment}.status").read_text() == "0\n"
    assert run(["sh", "-c", f"{push} {segment}.tmp 2>/dev/full; echo $?"], timeout=30) == "2\n"


def test_fetch_delivers_and_tells_absence_apart(plan: Path, segment: Path, tmp_path: Path) -> None:
    """0 with the file, 77 without, and without asking anybody: the repository is gone in the second case."""
    there = pgvault("wal", "fetch", segment.name, tmp_path / "out", "--plan", plan)
    assert (there.status, there.output, there.errors) == (0, "", "")
    assert (tmp_path / "out").read_bytes() == segment.read_bytes()

    (tmp_path / "repository").rename(tmp_path / "away")
    beyond = pgvault("wal", "fetch", small(6).name, tmp_path / "out2", "--plan", plan)
    assert (beyond.status, beyond.errors) == (WAL_ABSENT_EXIT, "")
    lost = pgvault("wal", "fetch", segment.name, tmp_path / "out2", "--plan", plan, "--retry-for", "1s")
    assert lost.status == 30
    assert "again in" in lost.errors


def test_a_plan_that_can_not_be_read_means_nothing(plan: Path, segment: Path, tmp_path: Path) -> None:
    """Neither absent nor delivered."""
    plan.write_text("{")
    assert pgvault("wal", "fetch", segment.name, tmp_path / "out", "--plan", plan).status == 10
    assert pgvault("wal", "fetch", segment.name, tmp_path / "out", "--plan", tmp_path / "none").status == 10


def test_without_a_plan_the_repository_is_asked(archive: Archive, plan: Path, segment: Path, tmp_path: Path) -> None:
    """A follower gets what there is now."""
    config = str(archive.config)
    assert pgvault("wal", "fetch", segment.name, tmp_path / "out", "--config", config).status == 0
    assert pgvault("wal", "fetch", small(6).name, tmp_path / "out", "--config", config).status == WAL_ABSENT_EXIT


@pytest.fixture
def silence() -> Iterator[str]:
    """An endpoint that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


def hanging_push(archive: Archive, segment: Path, endpoint: str, log: Path) -> Process:
    """A push that waits for an answer of its store."""
    write_config(archive.config, archive.key, "s3://bucket/prefix", endpoint=endpoint)
    child = start([*program(), "--config", str(archive.config), "wal", "push", str(segment)], env={}, log=log)
    deadline = time.monotonic() + 20
    while not has_socket(child.pid):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return child


def has_socket(pid: int) -> bool:
    links = []
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        try:
            links.append(str(entry.readlink()))
        except OSError:
            continue
    return any(link.startswith("socket:") for link in links)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_a_signal_ends_a_push_at_once(
    archive: Archive, segment: Path, silence: str, tmp_path: Path, number: signal.Signals
) -> None:
    """Even while it waits for a store, and with a status that counts as a failure: not by the signal."""
    child = hanging_push(archive, segment, silence, tmp_path / "log")

    child.signal(number)
    began = time.monotonic()

    assert child.wait(10) == 1
    assert time.monotonic() - began < 3


def test_a_store_that_never_answers_is_given_up(archive: Archive, segment: Path, silence: str) -> None:
    """--retry-for bounds one operation on the store; a hanging push would fill pg_wal."""
    write_config(archive.config, archive.key, "s3://bucket/prefix", endpoint="http://127.0.0.1:1")

    finished = pgvault("--config", archive.config, "wal", "push", segment, "--retry-for", "1s")

    assert finished.status == 30
    assert "Traceback" not in finished.errors


@pytest.mark.parametrize(
    ("module", "function", "stored"),
    [("pgvault.wal.push", "put_wal", True), ("os", "link", True), ("os", "fsync", False)],
)
def test_a_killed_push_is_repeated_with_success(
    archive: Archive, segment: Path, tmp_path: Path, module: str, function: str, stored: bool
) -> None:
    """SIGKILL after the segment was put, linked or only written: what is left of the first try blocks no second."""
    code = (
        f"import os, signal, sys, {module} as module\n"
        f"work = module.{function}\n"
        "def die(*arguments, **named):\n"
        "    work(*arguments, **named)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        f"module.{function} = die\n"
        "from pgvault.cli import archiver\n"
        f"archiver.main(['--config', {str(archive.config)!r}, 'wal', 'push', {str(segment)!r}])"
    )
    record_system(archive.repository, "main", System(SYSTEM, 18), follows=None, now=AT)
    child = start([sys.executable, "-c", code], env={"PYTHONPATH": str(ROOT)}, log=tmp_path / "log")
    assert child.wait(30) == -signal.SIGKILL
    assert archive.names(SYSTEM) == ([segment.name] if stored else [])

    assert pgvault("--config", archive.config, "wal", "push", segment).status == 0

    assert archive.names(SYSTEM) == [segment.name]


def test_help_lists_both_commands() -> None:
    """What PostgreSQL calls is documented like everything else, and runs the same way."""
    runner = CliRunner()

    overview = runner.invoke(wal, ["--help"])
    assert "push" in overview.output
    assert "fetch" in overview.output
    assert "77 when confirmed absent" in runner.invoke(wal, ["fetch", "--help"]).output.replace("\n", " ")
    assert runner.invoke(wal, ["push", "/nowhere", "--config", "/nowhere.yaml"]).exit_code == 10


def test_two_pushes_of_one_segment_at_once_both_succeed(archive: Archive, segment: Path, tmp_path: Path) -> None:
    """The archiver may run again while an orphan of it still works."""
    results: list[int] = []

    def push() -> None:
        results.append(pgvault("--config", archive.config, "wal", "push", segment).status)

    threads = [threading.Thread(target=push) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert results == [0, 0, 0, 0]
    assert archive.names(SYSTEM) == [segment.name]
