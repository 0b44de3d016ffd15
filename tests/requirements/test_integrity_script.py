from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from pgvault.errors import CheckFailed, UsageError
from pgvault.process import Finished, attempt
from tests.archive import ROOT, Archive, bare_environment, make_archive
from tests.requirements.test_checks import FILE
from tests.servers import NEWEST, ServerFactory

SCRIPT = ROOT / "scripts" / "data-integrity-check.sh"
CUSTOMERS = "CREATE TABLE customers (id bigint PRIMARY KEY, email text)"


def run_script(archive: Archive, *words: str) -> Finished:
    """Run it as cron does, with the configuration's place in the environment."""
    environment = {**bare_environment(), "PGVAULT_CONFIG": str(archive.config), "HOME": "/nonexistent"}
    return attempt([SCRIPT, *words], timeout=120, env=environment)


@pytest.mark.cluster
@pytest.mark.endurance
def test_data_integrity_check_checks_the_live_data(server: ServerFactory, tmp_path: Path) -> None:
    """`scripts/data-integrity-check.sh` in an old runbook: all checks of the file, or those that are named."""
    archive, live = make_archive(tmp_path), server(NEWEST)
    live.sql(CUSTOMERS)
    live.sql("INSERT INTO customers VALUES (1, 'ann@example.com')")
    document = yaml.safe_load(archive.config.read_text())
    document["clusters"]["main"] = {"dsn": live.dsn, "checks": str(FILE)}
    archive.config.write_text(yaml.safe_dump(document))

    named = run_script(archive, "not_null", "email_format", "--json")
    everything = run_script(archive)  # without most of the shop's tables
    mistaken = run_script(archive, "--check")

    assert named.status == 0, named.errors
    assert [result["name"] for result in json.loads(named.output)["results"]] == ["not_null", "email_format"]
    assert everything.status == CheckFailed.exit_code
    assert 'relation "orders" does not exist' in everything.output
    assert mistaken.status == UsageError.exit_code
