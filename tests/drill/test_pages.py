from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from pgvault.checks.result import Verdict
from pgvault.config import Objectives
from pgvault.drill.pages import NONE, judge, look_at_pages
from pgvault.drill.report import PAGES, DrillReport
from pgvault.postgres.instance import Instance
from pgvault.postgres.programs import Programs
from pgvault.process import Finished

DATA = Path("/tmp/pgvault-drill-01234567/data")
GOOD = "Checksum operation completed\nFiles scanned:   967\nBlocks scanned:  2848\nBad checksums:  0\n"
BAD = GOOD.replace("Bad checksums:  0", "Bad checksums:  2")
LINE = (
    'pg_checksums: error: checksum verification failed in file "{}", '
    "block {}: calculated checksum 8D4 but block contains 8D5\n"
)


def test_pages_that_were_all_looked_at_pass() -> None:
    """With how many they were."""
    result = judge(Finished(0, GOOD, ""), DATA, seconds=1)

    assert result.passed
    assert result.detail == "2848 pages in 967 files"


def test_bad_pages_are_named() -> None:
    """By file, inside of the data directory or of a tablespace, and block."""
    inside, space = DATA / "base/5/16384_fsm", DATA / "pg_tblspc/16388/PG_18_202506291/5/16390.1"
    said = LINE.format(inside, 3) + LINE.format(space, 131071)

    result = judge(Finished(1, BAD, said), DATA, seconds=1)

    assert result.failed
    assert result.is_blocking
    assert result.measured == 2
    assert result.sample == (
        "base/5/16384_fsm block 3",
        "pg_tblspc/16388/PG_18_202506291/5/16390.1 block 131071",
    )
    assert result.sample[0] in result.detail


@pytest.mark.parametrize(
    ("finished", "why"),
    [
        (Finished(1, "", "pg_checksums: error: cluster must be shut down\n"), "cluster must be shut down"),
        (Finished(1, "", 'pg_checksums: error: could not open file "x": Permission denied\n'), "Permission denied"),
        (Finished(0, GOOD.replace("2848", "0"), ""), "Bad checksums:  0"),
        (Finished(0, "", ""), "status 0"),
        (Finished(-9, "", ""), "status -9"),
    ],
)
def test_what_was_not_looked_at_to_the_end_is_no_pass(finished: Finished, why: str) -> None:
    """A server that did not stop cleanly, a file that can not be read, a run that saw nothing."""
    result = judge(finished, DATA, seconds=1)

    assert result.verdict is Verdict.FAILED
    assert why in result.detail


def test_a_cluster_without_checksums_is_told_and_proves_nothing() -> None:
    """No result that could pass for one."""
    report = DrillReport("20260115T103000Z-f7c2", "main", datetime(2026, 1, 15, tzinfo=UTC), Objectives())
    instance = Instance(Programs(DATA, 18, "18.6"), DATA, DATA, DATA)

    look_at_pages(report, instance, has_checksums=False)

    assert report.checks == []
    assert report.not_tested[0] == NONE
    assert PAGES not in report.not_tested
