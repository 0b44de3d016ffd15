"""The report of a real cluster, opened in a real browser."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from pgvault.errors import CheckFailed, DrillFailed, ObjectiveMissed, UsageError
from tests.browser import chromium
from tests.cli.here import pgvault
from tests.cluster.drills import Stage, make_told_stage, write_orders
from tests.report.pages import Page, numbers, read_page, resolve
from tests.report.test_page import NOT_SHOWN
from tests.servers import NEWEST, ServerFactory
from tests.wal.servers import system_of

pytestmark = [pytest.mark.cluster, pytest.mark.endurance]

GOOD = {"name": "orphans", "query": "SELECT count(*) FROM orders WHERE customer_id IS NULL"}
BAD = {"name": "<script>alert('found')</script>", "query": "SELECT id FROM orders LIMIT 2", "severity": "high"}
OBJECTIVES = {"rto": "1h", "rpo": "1d", "backup_age": "24h"}


@dataclass(frozen=True, slots=True)
class Reported:
    """A cluster with a past, its report, and the page as the browser has it."""

    stage: Stage
    config: Path
    document: dict[str, Any]
    page: Page
    path: Path

    @property
    def cluster(self) -> dict[str, Any]:
        return dict(self.document["clusters"][0])


def configure(stage: Stage, path: Path, *checks: dict[str, str], root: Path | None = None) -> Path:
    """Write a configuration with these checks and a copy that does not answer; JSON is YAML."""
    copies = {
        "primary": {"url": (root or stage.archive.root).as_uri()},
        "dr": {"url": (stage.archive.root.parent / "unmounted").as_uri()},
    }
    cluster = {
        "dsn": stage.server.dsn,
        "checks": list(checks),
        "objectives": OBJECTIVES,
        "classes": {"critical": {"tables": ["public.orders"], "priority": 1, "rto": "1h"}},
        "drill": {"scratch": str(stage.scratch), "derived": False},
    }
    repository = {"key": f"file:{stage.archive.key}", "copies": copies}
    path.write_text(json.dumps({"repository": repository, "clusters": {"main": cluster}, "timezone": "Europe/Berlin"}))
    return path


def make_gap(stage: Stage) -> None:
    """Lose one segment of three."""
    names = []
    for _ in range(3):
        write_orders(stage.server.dsn)
        names.append(stage.archive_all())
    stage.archive.object_path(names[1], system_of(stage.server.data)).unlink()


@pytest.fixture(scope="module")
def reported(templates: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reported]:
    """Backed up, drilled well and badly, checked, and then a segment was lost."""
    if not NEWEST:
        pytest.skip("no PostgreSQL is installed")
    factory, place = ServerFactory(templates), tmp_path_factory.mktemp("reported")
    try:
        stage = make_told_stage(factory, NEWEST, place)
        well, badly = configure(stage, place / "well.yaml", GOOD), configure(stage, place / "badly.yaml", GOOD, BAD)
        assert pgvault("--config", well, "drill").status == 0
        assert pgvault("--config", badly, "drill").status == DrillFailed.exit_code
        assert pgvault("--config", badly, "checks", "run", "--live").status == CheckFailed.exit_code
        make_gap(stage)
        path = place / "report.html"
        finished = pgvault("--config", badly, "report", "--html", path, "--json")
        assert finished.status == 0, finished.errors
        page = read_page(chromium(path, "--dump-dom"))
        yield Reported(stage, badly, json.loads(finished.output), page, path)
    finally:
        factory.clear()


def test_every_number_in_the_browser_is_that_of_the_json(reported: Reported) -> None:
    """Each is there, says where it comes from, and is what stands there."""
    told = {element.pointer: element for element in reported.page.elements if element.pointer is not None}

    assert len(told) > 100
    for pointer, element in told.items():
        assert element.value == resolve(reported.document, pointer), element
    missing = [
        pointer
        for pointer, value in numbers(reported.document)
        if pointer not in told and not NOT_SHOWN.fullmatch(pointer) and not (pointer.endswith("_count") and value == 0)
    ]
    assert missing == []


def test_the_page_says_what_happened(reported: Reported) -> None:
    """The gap, both drills, what each check found and where, the rows' keys, the copy that is not there."""
    cluster, text = reported.cluster, reported.page.text

    primary, dr = cluster["window"]["lanes"]
    assert [hole["segment_count"] for hole in primary["holes"]] == [1]
    assert [proof["outcome"] for proof in primary["proofs"]] == ["failed", "passed"]
    assert dr["error"] is not None
    assert [drill["outcome"] for drill in cluster["drills"]] == ["failed", "passed"]
    good, bad = cluster["quality"]["checks"][:2][::-1]
    assert (good["name"], good["standing"]) == ("orphans", "good")
    assert (len(good["live"]), len(good["drill"])) == (1, 2)
    assert (bad["name"], bad["standing"], len(bad["live"]), len(bad["drill"])) == (BAD["name"], "bad", 1, 1)
    assert [failure["where"] for failure in bad["failures"]] == ["live", "drill"]
    assert all(len(failure["rows"]) == 2 for failure in bad["failures"])
    assert cluster["headline"]["standing"] == "bad"
    assert {each["name"]: each["verdict"] for each in cluster["objectives"]}["rto"] == "missed"
    for said in (*bad["failures"][0]["rows"], "1 WAL segment missing", "Copy dr did not answer"):
        assert said in text


def test_nothing_is_asked_for_and_nothing_runs(reported: Reported) -> None:
    """The check whose name is a script is text in the browser, too."""
    assert reported.page.outside() == []
    assert "script" not in {element.tag for element in reported.page.elements}
    assert BAD["name"] in reported.page.text


def test_it_is_drawn_and_printed(reported: Reported) -> None:
    """On a screen and on paper."""
    picture, paper = reported.path.with_suffix(".png"), reported.path.with_suffix(".pdf")

    chromium(reported.path, "--window-size=1200,3000", f"--screenshot={picture}")
    chromium(reported.path, "--no-pdf-header-footer", f"--print-to-pdf={paper}")

    assert picture.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert paper.read_bytes()[:5] == b"%PDF-"
    assert len(paper.read_bytes()) > 20_000


def test_the_exit_code_says_what_the_page_says_only_when_asked(reported: Reported, tmp_path: Path) -> None:
    """51 for a cluster, 53 for its data; without a place to write or a repository to read there is no report."""
    page, nowhere = tmp_path / "page.html", tmp_path / "none" / "page.html"
    gone = configure(reported.stage, tmp_path / "gone.yaml", root=tmp_path / "gone")

    red = pgvault("--config", reported.config, "report", "--fail-if-red", "--html", page)
    quality = pgvault("--config", reported.config, "report", "--quality", "--fail-if-red")
    unwritten = pgvault("--config", reported.config, "report", "--quality", "--html", nowhere)
    unread = pgvault("--config", gone, "report", "--html", tmp_path / "gone.html")

    assert (red.status, page.is_file()) == (ObjectiveMissed.exit_code, True)
    assert quality.status == CheckFailed.exit_code
    assert all(row in quality.output for row in reported.cluster["quality"]["checks"][0]["failures"][0]["rows"])
    assert unwritten.status == UsageError.exit_code
    assert unread.status != 0
    assert not (tmp_path / "gone.html").exists()
