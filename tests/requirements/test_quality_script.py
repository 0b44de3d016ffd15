from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from pgvault.errors import CheckFailed, ServerUnfit, UsageError
from pgvault.pipeline.header import Kind
from pgvault.process import Finished, attempt
from pgvault.repository import layout
from pgvault.repository.objects import put_json
from tests.archive import ROOT, Archive, make_archive
from tests.report.sample import found, run

SCRIPT = ROOT / "scripts" / "generate-data-quality-report.sh"


def run_script(archive: Archive, *words: str | Path) -> Finished:
    """Run it as cron does, with the configuration's place in the environment."""
    environment = {"PATH": os.environ["PATH"], "PGVAULT_CONFIG": str(archive.config), "HOME": "/nonexistent"}
    return attempt([SCRIPT, *words], timeout=120, env=environment)


@pytest.mark.endurance
def test_generate_data_quality_report_tells_what_the_checks_found(tmp_path: Path) -> None:
    """`scripts/generate-data-quality-report.sh` of an old runbook; red only when that is asked for."""
    archive = make_archive(tmp_path)
    document: dict[str, Any] = yaml.safe_load(archive.config.read_text())
    document["clusters"]["main"]["checks"] = [{"name": "orphaned_orders", "query": "SELECT 1"}]
    archive.config.write_text(yaml.safe_dump(document))
    silent = run_script(archive, "--fail-if-red")
    name = "20261121T080000Z-0001"
    stored = run(1, found("orphaned_orders", "failed")) | {"id": name}
    put_json(archive.repository, f"{layout.checks('main')}/{name}", Kind.CHECKS, document=stored)

    page = tmp_path / "quality.html"
    text, written = run_script(archive), run_script(archive, "--html", page, "--json")
    red, mistaken = run_script(archive, "--fail-if-red"), run_script(archive, "--html")

    assert silent.status == ServerUnfit.exit_code  # nothing was ever checked: never green
    assert text.status == 0, text.errors
    assert "order_id=4711" in text.output
    assert written.status == 0
    assert json.loads(written.output)["clusters"][0]["quality"]["bad_count"] == 1
    assert "order_id=4711" in page.read_text()
    assert red.status == CheckFailed.exit_code
    assert mistaken.status == UsageError.exit_code
