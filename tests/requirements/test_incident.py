"""What an incident asks: each line of it is a step of the runbook, and the audit trail answers its questions."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from pgvault.audit.signer import SigningKey
from pgvault.cli.auditing import Book, recording
from pgvault.config import Secret, parse_config
from pgvault.config.audit import AuditConfig
from pgvault.repository.copies import Copy
from pgvault.repository.keys import Credential
from pgvault.repository.repository import init_repository
from pgvault.runbook.document import write_runbook
from pgvault.runbook.facts import ClusterFacts, Facts
from tests.fakes import MemoryStore

NOW = datetime(2026, 1, 15, 10, 30, tzinfo=UTC)
CONFIG = {
    "repository": {"key": "file:/etc/pgvault/key", "copies": {"primary": {"url": "file:///srv/pgvault"}}},
    "clusters": {
        "shop": {"dsn": "dbname=shop", "checks": [{"name": "orphans", "query": "SELECT 0"}], "retention": {"days": 30}}
    },
}


@pytest.fixture(scope="module")
def steps() -> str:
    config = parse_config(CONFIG, where="test")
    clusters = (ClusterFacts("shop", config.clusters["shop"]),)
    text = write_runbook(Facts(NOW, "0.7.0", Path("/etc/pgvault/pgvault.yaml"), config, clusters))
    return text[text.index("Ransomware") :]


@pytest.mark.parametrize(
    "step",
    [
        'pgvault hold --cluster shop --from "$FROM" --to "$TO"',  # every backup and all WAL of a time range
        'pgvault drill --cluster shop --to "$T"',  # find when it began
        "pgvault restore --cluster shop --to last-good",  # the last moment at which a check still held
        'pgvault restore --cluster shop --to "$T" --finish /srv/incident/shop',  # to a scratch copy first
        "pgvault checks run --live --cluster shop",  # prove afterwards with the same queries that it is right
        "--receipt",
        "pgvault audit verify",
    ],
)
def test_each_step_stands_in_the_runbook(steps: str, step: str) -> None:
    """Preserve, find, restore to scratch, bring back, prove."""
    assert step in steps


def test_who_when_from_where_what_with_trusted_time(tmp_path: Path) -> None:
    """Signed, by the host's clock and the store's, so that it can not be edited."""
    key = tmp_path / "audit.key"
    key.write_bytes(SigningKey.generate().encode())
    store = MemoryStore()
    store.at = NOW
    repository = init_repository([Copy("primary", store)], Credential("raw", bytes(32)), now=NOW)[0]

    with recording(Book(repository, AuditConfig(key=Secret(source="file", name=str(key))), "shop"), "hold") as event:
        pass

    entry = event.entry
    assert entry is not None
    assert {"user", "uid", "host", "pid", "from"} <= entry.event["by"].keys()
    assert (entry.event["what"], entry.event["cluster"]) == ("hold", "shop")
    assert entry.at.tzinfo is not None
    assert entry.place.store_at == NOW
    assert not entry.key.has_signed(entry.document.replace(b"hold", b"held"), entry.signature)
