"""What is printed can be pasted: a server archives with it, a standby follows with it, systemd accepts it."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from pgvault.config import ClusterConfig, Objectives, StreamConfig
from pgvault.errors import UsageError
from pgvault.monitor.settings import (
    COPY_UNIT_NAME,
    Host,
    Invocation,
    PrintedSettings,
    archive_timeout,
    copy_unit,
    suggest,
    unit_word,
)
from pgvault.process import attempt
from tests.archive import make_archive
from tests.cli.here import pgvault
from tests.servers import NEWEST, ServerFactory
from tests.wal.servers import copy_of, insert_row, rows, system_of, wait_archived, wait_until

ODD = 'it\'s 100% "odd" $HOME \\ `x`'
NOWHERE = Host("postgres", None)


def invocation(program: str = "/opt/pgvault/bin/pgvault", config: str = "/etc/pgvault.yaml") -> Invocation:
    return Invocation((program,), (program, "-S"), (program, "-P"), Path(config), None)


def suggested(
    *, stream: StreamConfig | None = None, rpo: timedelta | None = None, host: Host = NOWHERE
) -> PrintedSettings:
    config = ClusterConfig(dsn="", stream=stream, objectives=Objectives(rpo=rpo))
    return suggest("main", config, invocation(), host=host)


@pytest.mark.cluster
@pytest.mark.endurance
def test_a_server_archives_and_a_standby_follows_with_what_was_printed(server: ServerFactory, tmp_path: Path) -> None:
    """From a directory whose name nobody should have, of one cluster of two, in an empty environment."""
    directory = tmp_path / ODD
    directory.mkdir()
    archive = make_archive(directory)
    with archive.config.open("a") as file:
        file.write("  other: {dsn: 'host=/nowhere'}\n")
    printed = pgvault("--config", archive.config, "check", "--cluster", "main", "--print-settings")
    assert printed.status == 0, printed.errors
    of_server, _, of_standby = printed.output.partition("\n\n")
    one = server(NEWEST, running=False)
    one.instance.environment = {}
    with (one.data / "postgresql.conf").open("a") as conf:
        conf.write(of_server + "\n")
    one.start()

    wait_archived(archive, system_of(one.data), insert_row(one, 1))

    assert one.value("SELECT failed_count FROM pg_stat_archiver") == 0
    assert one.value("SHOW archive_timeout") == "1min"
    copy = copy_of(one, server.directory())
    wait_archived(archive, system_of(one.data), insert_row(one, 2))
    (copy / "standby.signal").touch()
    with (copy / "postgresql.conf").open("a") as conf:
        conf.write(of_standby)
    standby = server.adopt(one.programs, copy)
    wait_until(lambda: rows(standby) == [1, 2])


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
@pytest.mark.parametrize("name", ["pgvault", ODD], ids=["plain", "odd"])
def test_systemd_accepts_the_unit(tmp_path: Path, name: str) -> None:
    """The program is found under any name, and no line is unknown."""
    program = tmp_path / name
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    config = ClusterConfig(dsn="", stream=StreamConfig())
    printed = suggest("main", config, invocation(str(program), f"/etc/{ODD}"), host=NOWHERE)
    assert printed.unit_name == "pgvault-stream-main.service"
    assert printed.unit is not None
    path = tmp_path / printed.unit_name
    path.write_text(printed.unit)

    verified = attempt(["systemd-analyze", "verify", "--man=no", path], timeout=30)

    assert verified.status == 0, verified.errors
    assert verified.errors.count(str(path)) == 0


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_systemd_accepts_the_unit_of_copies(tmp_path: Path) -> None:
    """One for all clusters."""
    program = tmp_path / "pgvault"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    path = tmp_path / COPY_UNIT_NAME
    path.write_text(copy_unit(replace(invocation(str(program)), cluster="main"), user="postgres"))

    verified = attempt(["systemd-analyze", "verify", "--man=no", path], timeout=30)

    assert verified.status == 0, verified.errors
    assert f"ExecStart={program} --config /etc/pgvault.yaml copy --watch\n" in path.read_text()


def test_further_copies_have_a_unit_of_their_own(tmp_path: Path) -> None:
    """A repository with one copy needs none."""
    archive = make_archive(tmp_path)
    alone = pgvault("--config", archive.config, "check", "--print-settings", "--json")
    text = archive.config.read_text().replace("copies:\n", f"copies:\n    dr: {{url: 'file://{tmp_path}/dr'}}\n")
    archive.config.write_text(text)
    both = pgvault("--config", archive.config, "check", "--print-settings")

    assert json.loads(alone.output)["copy_unit"] is None
    assert "# /etc/systemd/system/pgvault-copy.service" in both.output
    assert "copy --watch" in both.output


def test_a_words_quoting_is_systemds() -> None:
    """Its specifiers, variables and escapes mean nothing in a path."""
    assert unit_word("/opt/pgvault/bin/pgvault") == "/opt/pgvault/bin/pgvault"
    assert unit_word("PYTHONPATH=/a") == "PYTHONPATH=/a"
    assert unit_word("") == '""'
    assert unit_word("a b") == '"a b"'
    assert unit_word('100% "$x" \\') == '"100%% \\"$$x\\" \\\\"'
    assert unit_word(";") == '";"'
    with pytest.raises(UsageError):
        unit_word("a\0b")


@pytest.mark.parametrize(
    ("rpo", "seconds"),
    [(None, 60), (timedelta(minutes=15), 450), (timedelta(seconds=1), 1), (timedelta(days=1), 3600)],
    ids=["none", "15m", "1s", "1d"],
)
def test_half_of_the_rpo_is_left_for_the_upload(rpo: timedelta | None, seconds: int) -> None:
    """archive_timeout is never 0, which would mean never."""
    assert archive_timeout(rpo) == timedelta(seconds=seconds)


def test_a_streamed_cluster_needs_less_of_its_server(tmp_path: Path) -> None:
    """No archive_command, but a limit on what a slot keeps, by the room there is; and a unit."""
    (tmp_path / "pg_wal").mkdir()
    printed = suggested(stream=StreamConfig(), host=Host("pg", tmp_path))

    assert set(printed.server) == {"wal_level", "archive_timeout", "max_slot_wal_keep_size"}
    assert printed.server["archive_timeout"] == "0"
    half = shutil.disk_usage(tmp_path).free / 2**21
    assert int(printed.server["max_slot_wal_keep_size"].removesuffix("MB")) == pytest.approx(max(1024, half), rel=0.1)
    assert set(printed.optional) == {"archive_mode", "archive_command"}
    assert printed.unit is not None
    assert "User=pg\n" in printed.unit
    assert "StateDirectory=pgvault/main\n" in printed.unit
    assert "ExecStart=/opt/pgvault/bin/pgvault --config /etc/pgvault.yaml wal stream\n" in printed.unit
    assert "not known" not in printed.notes[0]
    assert "not known" in suggested(stream=StreamConfig()).notes[0]


def test_a_spool_elsewhere_is_not_systemds_to_make() -> None:
    """StateDirectory is for the usual place."""
    printed = suggested(stream=StreamConfig(spool=Path("/srv/spool")))

    assert printed.unit is not None
    assert "StateDirectory" not in printed.unit


def test_it_is_printed_as_json_too(tmp_path: Path) -> None:
    """The values as PostgreSQL shall read them; no server is needed."""
    archive = make_archive(tmp_path)

    finished = pgvault("--config", archive.config, "check", "--print-settings", "--json")

    document = json.loads(finished.output)
    assert document["cluster"] == "main"
    assert list(document["settings"]) == ["wal_level", "archive_mode", "archive_command", "archive_timeout"]
    assert document["settings"]["archive_command"].endswith(f'--config {archive.config} wal push "%p"')
    assert document["standby"]["restore_command"].startswith('trap "exit 1" EXIT; /')
    assert document["systemd_unit"] is None
