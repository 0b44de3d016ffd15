"""Every printed line is run: cron's by `sh -c` in cron's environment, and systemd's are the very same words."""

from __future__ import annotations

import getpass
import re
import shlex
import shutil
from pathlib import Path

import pytest
import yaml

from pgvault.process import Finished, attempt
from tests.archive import Archive, make_archive, pgvault
from tests.cli import here
from tests.cli.test_help import command_of
from tests.hosts.crons import CronLine, read_cron_file
from tests.servers import NEWEST, Server, ServerFactory

ODD = "it's 100% odd $HOME `x`"
CRON = {"HOME": "/", "LOGNAME": getpass.getuser(), "PATH": "/usr/bin:/bin", "SHELL": "/bin/sh"}
CHECK = {"name": "no rows", "query": "SELECT count(*) FROM t WHERE id < 0", "threshold": 0}
ESCAPED = re.compile(r'\\([\\"n])')


def unit_words(line: str) -> list[str]:
    """Split what stands behind ExecStart= as systemd does: quotes and C's escapes, then `%%` and `$$`."""
    words = []
    for quoted, plain in re.findall(r'"((?:[^"\\]|\\.)*)"|(\S+)', line):
        word = ESCAPED.sub(lambda each: "\n" if each[1] == "n" else each[1], quoted) if quoted else plain
        words.append(word.replace("%%", "%").replace("$$", "$"))
    return words


def values(unit: str, name: str) -> list[str]:
    return [line.partition("=")[2] for line in unit.splitlines() if line.startswith(f"{name}=")]


def configure(archive: Archive, directory: Path, dsn: str) -> None:
    """A repository of two copies, and all that makes jobs and services."""
    (directory / "second").mkdir()
    document = yaml.safe_load(archive.config.read_text())
    document["repository"]["copies"]["second"] = {"url": (directory / "second").as_uri()}
    document["clusters"] = {
        "main": {"dsn": dsn, "checks": [CHECK], "retention": {"full": 2}, "drill": {"isolation": "process"}}
    }
    document["alerts"] = {"receivers": {"ops": {"command": ["/bin/true"]}}}
    archive.config.write_text(yaml.safe_dump(document))


def printed(archive: Archive, kind: str, directory: Path) -> dict[str, str]:
    """The files that `schedule` writes, by name; they belong to everybody's eyes and nobody else's hands."""
    directory.mkdir()
    done = pgvault("--config", archive.config, "schedule", kind, "--out", directory, "--user", "postgres")
    assert done.status == 0, done.errors
    again = pgvault("--config", archive.config, "schedule", kind, "--out", directory, "--user", "postgres")
    assert again.status == 0, again.errors
    assert {path.stat().st_mode & 0o777 for path in directory.iterdir()} == {0o644}
    return {path.name: path.read_text() for path in directory.iterdir()}


def run_line(line: CronLine) -> Finished:
    """Run it as cron does: with next to no environment, by sh, from somewhere."""
    return attempt(["sh", "-c", line.command], timeout=300, env={**CRON, **line.environment})


def archiving(server: Server, archive: Archive) -> None:
    """Let it archive as `check --print-settings` says."""
    settings = pgvault("--config", archive.config, "check", "--print-settings")
    assert settings.status == 0, settings.errors
    with (server.data / "postgresql.conf").open("a") as file:
        file.write(settings.output.partition("\n\n")[0] + "\n")
    server.restart()


@pytest.mark.cluster
@pytest.mark.endurance
def test_every_printed_line_does_its_work(server: ServerFactory, tmp_path: Path) -> None:
    """From paths with quotes, blanks and percent signs. What went well prints nothing, but for what a drill reports."""
    directory = tmp_path / ODD
    directory.mkdir()
    archive = make_archive(directory)
    one = server(NEWEST)
    one.sql("CREATE TABLE t (id int PRIMARY KEY)")
    one.sql("INSERT INTO t SELECT generate_series(1, 100)")
    configure(archive, directory, one.dsn)
    assert pgvault("--config", archive.config, "init").status == 0
    archiving(one, archive)
    lines = read_cron_file(printed(archive, "cron", tmp_path / "cron.d")["pgvault"], strips_backslash=False)
    units = printed(archive, "systemd", tmp_path / "system")

    for line in lines:
        finished = run_line(line)

        assert finished.status == 0, (line.command, finished)
        assert finished.errors == "" or "drill" in line.command, (line.command, finished)
        assert finished.output == "" or "drill" in line.command, (line.command, finished)

    assert len(lines) == 9  # eight jobs and the alerts
    told = {tuple(shlex.split(each)) for line in lines for each in line.command.replace(r"\%", "%").split(" && ")}
    jobs = {name: text for name, text in units.items() if "Type=oneshot" in text}
    run_by_units = {tuple(unit_words(each)) for text in jobs.values() for each in values(text, "ExecStart")}
    assert {words for words in told if words[-2:] != ("alert", "run") and "copy" not in words} == run_by_units
    assert {f"{name.removesuffix('.service')}.timer" for name in jobs} == {n for n in units if n.endswith(".timer")}
    assert units.keys() >= {"pgvault-copy.service", "pgvault-metrics.service", "pgvault-alert.service"}
    for name in ("pgvault-copy.service", "pgvault-metrics.service", "pgvault-alert.service"):
        (command,) = values(units[name], "ExecStart")
        words = unit_words(command)
        assert command_of(shlex.join(["pgvault", *words[words.index("pgvault") + 1 :]]))
    kept = [unit_words(each) for text in jobs.values() for each in values(text, "Environment")]
    assert kept == [[f"PGVAULT_CONFIG={archive.config}"]] * len(jobs)


@pytest.mark.endurance
@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
def test_systemd_takes_every_unit(tmp_path: Path) -> None:
    """And complains of no line of them."""
    archive = make_archive(tmp_path)
    configure(archive, tmp_path, "host=/nowhere")
    text = archive.config.read_text().replace("retention:", "stream: {}\n    retention:")
    archive.config.write_text(text + "timezone: Europe/Berlin\n")
    units = printed(archive, "systemd", tmp_path / "system")

    verified = attempt(
        ["systemd-analyze", "verify", "--man=no", *(tmp_path / "system" / name for name in units)], timeout=60
    )

    assert "pgvault-stream-main.service" in units
    assert verified.errors.count(str(tmp_path / "system")) == 0, verified.errors
    assert verified.status == 0, verified.errors


def test_another_file_is_not_written_over(tmp_path: Path) -> None:
    """Unless that is said."""
    archive = make_archive(tmp_path)
    (tmp_path / "pgvault").write_text("somebody's own\n")
    words = ("--config", archive.config, "schedule", "cron", "--user", "postgres", "--out", tmp_path)

    refused = here.pgvault(*words)

    assert refused.status == 43
    assert (tmp_path / "pgvault").read_text() == "somebody's own\n"
    assert here.pgvault(*words, "--force").status == 0
    assert "pgvault backup" in (tmp_path / "pgvault").read_text()
