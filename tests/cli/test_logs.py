"""--log-format json: whatever a command says on stderr is one object a line, in every way it may end."""

from __future__ import annotations

import json
import logging
import os
import sys
from datetime import datetime, timedelta
from io import BytesIO, StringIO, TextIOWrapper
from pathlib import Path
from typing import Any

import pytest

from pgvault.cli import archiver, fastpath, logs
from pgvault.cli.app import app
from pgvault.process import Finished, attempt
from tests.archive import ROOT, Archive, make_archive
from tests.cli.here import pgvault


@pytest.fixture(autouse=True)
def kept_format(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test chooses is nobody's afterwards."""
    monkeypatch.setenv(logs.FORMAT_VARIABLE, logs.TEXT)


def told(finished: Finished) -> list[dict[str, Any]]:
    """Every line of stderr, as machines read them."""
    return [json.loads(line) for line in finished.errors.splitlines()]


def test_an_error_is_one_object(tmp_path: Path) -> None:
    """With its hint, its class, its exit status and when."""
    finished = pgvault("--log-format", "json", "--config", tmp_path / "none.yaml", "list")

    (line,) = told(finished)

    assert finished.status == line["exit_code"] == 10
    assert line["level"] == "error"
    assert line["exception"] == "ConfigInvalid"
    assert "can not be read" in line["message"]
    assert line["time"].endswith("Z")
    assert datetime.fromisoformat(line["time"]).utcoffset() == timedelta(0)
    assert finished.output == ""


@pytest.mark.parametrize(
    "words", [["lst"], ["list", "--nothing"], ["list", "--cluster"], ["--log-format=json", "--nowhere", "list"]]
)
def test_a_wrong_command_line_is_one_object(words: list[str]) -> None:
    """Not the box that people get."""
    finished = pgvault("--log-format=json", *words)

    (line,) = told(finished)

    assert (finished.status, line["exit_code"], line["exception"]) == (2, 2, "UsageError")
    assert line["message"]


def test_a_fault_of_ours_is_one_object(monkeypatch: pytest.MonkeyPatch) -> None:
    """With its traceback, which is many lines for people."""

    def fail(*_: object, **__: object) -> None:
        raise ValueError("nobody\nthought of this")

    monkeypatch.setattr(type(app), "__call__", fail)
    finished = pgvault("--log-format", "json", "list")

    (line,) = told(finished)

    assert (finished.status, line["level"], line["exception"]) == (1, "critical", "ValueError")
    assert "Traceback" in line["traceback"]


def test_help_and_results_are_as_ever(archive: Archive) -> None:
    """stdout is not the log."""
    shown = pgvault("--log-format", "json", "--config", archive.config, "list")

    assert shown.status == 0
    assert shown.errors == ""
    assert pgvault("--log-format", "json", "--version").output.startswith("pgvault ")


def test_records_of_the_library_are_objects(monkeypatch: pytest.MonkeyPatch) -> None:
    """A line break in a message does not make two of one."""
    monkeypatch.setenv(logs.FORMAT_VARIABLE, logs.JSON)
    stream = StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logs.JsonFormatter())
    record = logging.LogRecord("pgvault.wal.push", logging.WARNING, "", 0, "%s waits\nfor %d", ("it", 3), None)

    handler.emit(record)

    line = json.loads(stream.getvalue())
    assert (line["logger"], line["level"], line["message"]) == ("pgvault.wal.push", "warning", "it waits\nfor 3")


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_a_line_is_json_in_every_encoding(encoding: str) -> None:
    """Of a host with another locale; and a file's name need be no text at all."""
    stream = TextIOWrapper(BytesIO(), encoding=encoding, errors="backslashreplace")  # as stderr is
    message = "\N{LATIN SMALL LETTER E WITH ACUTE} \N{EURO SIGN} \N{GRINNING FACE}" + os.fsdecode(b" \xff")

    stream.write(logs.json_line("error", message))
    stream.flush()

    assert isinstance(stream.buffer, BytesIO)
    assert json.loads(stream.buffer.getvalue().decode())["message"] == message


def test_an_unknown_format_is_refused() -> None:
    """Not taken for text."""
    finished = pgvault("--log-format", "xml", "list")

    assert finished.status == 2
    assert "xml" in finished.errors


@pytest.mark.endurance
@pytest.mark.parametrize("chosen", ["option", "variable"])
@pytest.mark.parametrize("program", [["-m", "pgvault"], [str(ROOT / "pgvault/cli/pushprogram.py")]])
def test_the_commands_of_a_server_say_it_so_too(tmp_path: Path, chosen: str, program: list[str]) -> None:
    """A push that fails, and a fetch of what is absent."""
    archive = make_archive(tmp_path)
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        logs.FORMAT_VARIABLE: "json" if chosen == "variable" else "text",
    }
    first = ["--log-format", "json"] if chosen == "option" else []
    python = sys.executable

    def run(*words: str) -> Finished:
        return attempt(
            [python, "-P", *program, "--config", str(archive.config), *first, *words], timeout=60, env=environment
        )

    pushed = run("wal", "push", str(tmp_path / "000000010000000000000001"))
    fetched = run("wal", "fetch", "000000010000000000000001", str(tmp_path / "x"), "--retry-for", "1s")

    assert 1 <= pushed.status <= 125
    assert told(pushed)[-1]["exit_code"] == pushed.status
    assert all(set(line) >= {"time", "level", "logger", "message"} for line in told(pushed) + told(fetched))


def test_the_quick_end_of_a_push_stays_quick() -> None:
    """The option sends nobody the long way."""
    assert fastpath.parse(["--log-format", "json", "wal", "push", "pg_wal/x"]) == ("pg_wal/x", None, None)
    assert archiver.is_wal_command(["--log-format=json", "wal", "push", "pg_wal/x"])


def test_what_was_printed_comes_before_the_error() -> None:
    """Also where both streams are one pipe: whoever reads the report below reads the verdict last."""
    lines = "from pgvault.cli.main import render_error; from pgvault.errors import PgvaultError"
    words = [sys.executable, "-c", f"{lines}; print('first'); render_error(PgvaultError('last'))"]

    finished = attempt(["sh", "-c", 'exec "$@" 2>&1', "sh", *words], timeout=60, env={"PYTHONPATH": str(ROOT)})

    assert finished.output.splitlines() == ["first", "error: last"]
