from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pgvault.cli.drills import mark_lines, proof_words, short_target
from pgvault.cli.render import mark
from pgvault.drill.marking import mark_backup
from pgvault.drill.report import DrillReport, store_report
from pgvault.errors import ObjectMissing
from pgvault.postgres.lsn import Lsn
from pgvault.repository.catalog import commit_manifest
from pgvault.repository.drilled import Drilled, Outcome
from pgvault.repository.drillreports import read_report
from tests.archive import Archive, make_archive, pgvault
from tests.drill.test_report import AT, BAD, GOOD, report
from tests.repository.samples import SAMPLE

NOW = datetime(2026, 1, 18, 10, 30, tzinfo=UTC)
PASSED = Drilled(
    SAMPLE.label, "20260115T103000Z-f7c2", AT, "latest", AT, Lsn(7), 1, Outcome.PASSED, ("primary", "dr"), 4, 60
)
FAILED = replace(PASSED, outcome=Outcome.FAILED, at=AT + timedelta(days=2, hours=12))


@pytest.mark.parametrize(
    ("marks", "words"),
    [
        ((), "-"),
        ((PASSED,), "proven 3 days ago"),
        ((replace(PASSED, outcome=Outcome.MISSED),), "proven late 3 days ago"),
        ((FAILED, PASSED), "FAILED 12.0 h ago, proven 3 days ago"),
        ((FAILED,), "FAILED 12.0 h ago"),
        ((replace(PASSED, at=NOW + timedelta(minutes=1)),), "proven 0 s ago"),
    ],
)
def test_a_backup_is_proven_or_failed_or_neither(marks: tuple[Drilled, ...], words: str) -> None:
    """A failure is told first, and hides no proof."""
    assert proof_words(marks, NOW) == words


def test_a_mark_in_a_line() -> None:
    """All that `show` says of one drill."""
    (line,) = mark_lines([PASSED])

    assert line == (
        "drilled 2026-01-15 10:30:00+00:00: passed (20260115T103000Z-f7c2; latest, as of 2026-01-15 10:30:00+00:00, "
        "RTO 4.0 s, from primary, dr)"
    )


def drilled(archive: Archive, number: int, *, good: bool) -> DrillReport:
    """Store what a drill of the sample backup leaves."""
    made = report(checks=(GOOD if good else BAD,))
    made.id, made.backup, made.as_of = f"2026011{number}T103000Z-f7c2", SAMPLE.label, AT
    made.started_at = AT + timedelta(days=number)
    store_report(archive.repository, made)
    mark_backup(archive.repository, made)
    return made


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A configuration of a repository with one backup that was drilled twice: it passed, then failed."""
    archive = make_archive(tmp_path)
    commit_manifest(archive.repository, SAMPLE)
    drilled(archive, 6, good=True)
    drilled(archive, 7, good=False)
    document = {
        "repository": {"key": f"file:{archive.key}", "copies": {"primary": {"url": archive.root.as_uri()}}},
        "clusters": {"main": {"dsn": "host=/nowhere"}},
    }
    path = tmp_path / "c.yaml"
    path.write_text(json.dumps(document))
    return path


def test_drills_are_read_back(config: Path) -> None:
    """The newest first; one by its id; and the list of backups says how each was drilled."""
    listed = pgvault("--config", config, "drills")
    shown = pgvault("--config", config, "drills", "20260117T103000Z-f7c2")
    document = json.loads(pgvault("--config", config, "drills", "--last", "1", "--json").output)
    backups = pgvault("--config", config, "list")

    assert listed.output.index("20260117T103000Z-f7c2") < listed.output.index("20260116T103000Z-f7c2")
    assert "check 'totals': returned 2 rows" in listed.output
    assert (document["count"], [each["outcome"] for each in document["drills"]]) == (2, ["failed"])
    assert shown.output.splitlines()[-1].startswith("FAILED · check 'totals': returned 2 rows · RTO")
    (line,) = [line for line in backups.output.splitlines() if line.startswith(SAMPLE.label)]
    assert re.search(r"FAILED \S+ \S+ ago, proven \S+ \S+ ago$", line.strip())


def test_the_list_fits_a_terminal(config: Path) -> None:
    """A row a drill, and why one failed below them: sentences in a column leave the others no room."""
    listed = pgvault("--config", config, "drills").output.splitlines()

    rows = [line for line in listed if re.match(r"2026011[67]T103000Z-f7c2 ", line)]
    assert [line.split()[1] for line in rows] == ["FAILED", "passed"]
    assert listed[-1] == "20260117T103000Z-f7c2: check 'totals': returned 2 rows"


@pytest.mark.parametrize(
    ("target", "words"),
    [
        ("the end of the archived WAL", "the end of the archived WAL"),
        ("time 2026-01-15T10:30:00+00:00", "time 2026-01-15T10:30:00+00:00"),
        ("a random moment, draw 2 of seed 7: time 2026-01-15T10:30:00+00:00", "a random moment"),
        ("the oldest moment: the end of the backup", "the oldest moment"),
        ("the last good moment (drill x, LSN 0/4)", "the last good moment"),
    ],
)
def test_a_target_in_few_words(target: str, words: str) -> None:
    """The report has the rest."""
    assert short_target(target) == words


@pytest.mark.parametrize(
    ("verdict", "is_blocking", "word"),
    [("passed", True, "ok"), ("failed", True, "FAIL"), ("failed", False, "warn"), ("unproven", True, "?")],
)
def test_fail_is_what_stops_something(verdict: str, is_blocking: bool, word: str) -> None:
    """Who reads that a drill passed finds no FAIL in it, and no ok where nothing was proven."""
    assert mark(verdict, is_blocking=is_blocking) == word


@pytest.mark.parametrize("option", ["--backup", "--logical"])
def test_a_label_that_nothing_has_is_no_failed_drill(config: Path, option: str) -> None:
    """32, and nothing is stored: neither the success rate nor the status knows of a slip of the pen."""
    before = pgvault("--config", config, "drills", "--json").output

    refused = pgvault("--config", config, "drill", option, "20260116T103000Z-0000")

    assert (refused.status, refused.errors.splitlines()[0]) == (
        32,
        "error: there is no backup '20260116T103000Z-0000' of cluster 'main'",
    )
    assert pgvault("--config", config, "drills", "--json").output == before


def test_a_drill_that_is_not_there(tmp_path: Path) -> None:
    """One sentence, and where to look; a report under another's name is none."""
    archive = make_archive(tmp_path)
    drilled(archive, 6, good=True)

    assert read_report(archive.repository, "main", "20260116T103000Z-f7c2")["passed"] is True
    with pytest.raises(ObjectMissing, match="there is no drill '20200101T000000Z-0000' of cluster 'main'"):
        read_report(archive.repository, "main", "20200101T000000Z-0000")
