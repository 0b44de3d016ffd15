"""`pgvault audit`: listed, verified, and exported for whoever has nothing but openssl."""

from __future__ import annotations

import re
import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml

from pgvault.audit.chain import append
from pgvault.audit.entry import Entry
from pgvault.audit.signer import SigningKey
from pgvault.process import attempt
from pgvault.repository import layout
from tests.archive import ROOT, Archive
from tests.cli.here import pgvault, pgvault_json

BY = {"user": "postgres", "host": "db1", "from": "cron"}


@pytest.fixture
def entries(archive: Archive) -> list[Entry]:
    """Three entries, by the key that the configuration names and pins."""
    key = SigningKey.generate()
    file = archive.config.with_name("audit.key")
    file.write_bytes(key.encode())
    configure(archive, key=f"file:{file}", signers={"db1": str(key.public)})
    events = [{"what": what, "result": "ok", "cluster": "main", "by": BY} for what in ("backup", "drill", "backup")]
    return [append(archive.repository, event, key=key, at=datetime.now(UTC)) for event in events]


def configure(archive: Archive, **audit: object) -> None:
    """Write the section `audit` of the configuration."""
    config = yaml.safe_load(archive.config.read_text())
    archive.config.write_text(yaml.safe_dump({**config, "audit": audit}))


def test_what_was_done_is_listed(archive: Archive, entries: list[Entry]) -> None:
    """Newest first, by whom, and as much as was asked for."""
    listed = pgvault_json("audit", "list", "--config", archive.config)["entries"]
    drills = pgvault_json("audit", "list", "--what", "drill", "--since", "2026-01-01T00:00", "--config", archive.config)
    newest = pgvault("audit", "list", "--limit", "1", "--config", archive.config)

    assert [each["number"] for each in listed] == [2, 1, 0]
    assert {(each["signed_by"], each["believed"]) for each in listed} == {("db1", True)}
    assert [each["sha256"] for each in drills["entries"]] == [entries[1].head.sha256.hex()]
    assert len(re.findall("postgres@db1", newest.output)) == 1
    assert pgvault_json("audit", "list", "--since", "2999-01-01T00:00", "--config", archive.config)["entries"] == []


def test_the_public_key_is_shown(archive: Archive, entries: list[Entry]) -> None:
    """As `audit.signers` takes it."""
    assert pgvault("audit", "key", "--config", archive.config).output == f"{entries[0].key}\n"


def test_a_whole_chain_passes(archive: Archive, entries: list[Entry]) -> None:
    """And its end is printed, to be kept elsewhere and given to the next one."""
    found = pgvault_json("audit", "verify", "--config", archive.config)
    end = found["chains"][0]["head"]

    assert (found["passed"], found["proven"]) == (True, True)
    assert end == f"{entries[2].signer}:2:{entries[2].head.sha256.hex()}"
    again = pgvault_json("audit", "verify", "--head", end, "--config", archive.config)
    assert again["findings"] == []
    assert again["chains"][0]["proven_to"] == 2


def test_a_cut_end_is_found_by_what_was_kept(archive: Archive, entries: list[Entry], tmp_path: Path) -> None:
    """An exported entry, or the end that was printed, is compared; exit 37."""
    receipts = tmp_path / "evidence"
    assert pgvault("audit", "export", receipts, "--config", archive.config).status == 0
    (archive.root / layout.audit_entry(entries[2].signer, 2)).unlink()

    assert pgvault("audit", "verify", "--config", archive.config).status == 0
    receipt = receipts / entries[2].signer / "00000002.json"
    found = pgvault("audit", "verify", "--receipt", receipt, "--config", archive.config)

    assert found.status == 37
    assert "ends at entry 1" in found.errors
    assert "its end was cut" in found.errors
    # An export that was made before is compared, and never changed.
    shutil.copy(receipt.with_name("00000000.json"), receipt.with_name("00000001.json"))
    assert pgvault("audit", "export", receipts, "--config", archive.config).status == 37


def test_without_pins_it_is_said(archive: Archive, entries: list[Entry]) -> None:
    """Nothing broken, nothing proven: exit 0, and no word that sounds green. A pin may be given."""
    configure(archive)

    found = pgvault("audit", "verify", "--config", archive.config)
    given = pgvault_json("audit", "verify", "--signer", str(entries[0].key), "--config", archive.config)

    assert found.status == 0
    assert "not pinned: nothing says who signed" in found.output
    assert "audit: whole, and not proven" in found.output
    assert given["proven"] is True


def test_an_empty_repository_does_not_pass(archive: Archive) -> None:
    """A claim over nothing is never green."""
    assert pgvault("audit", "verify", "--config", archive.config).status == 37


def test_openssl_verifies_what_is_exported(archive: Archive, entries: list[Entry], tmp_path: Path) -> None:
    """By the lines that the README gives, and by nothing else; a changed byte is refused."""
    pgvault("audit", "export", tmp_path / "evidence", "--config", archive.config)
    directory = tmp_path / "evidence" / entries[0].signer
    readme = (ROOT / "README.md").read_text()
    (line,) = re.findall(r"^    (openssl pkeyutl -verify .*00000000\.sig)$", readme, re.MULTILINE)
    (chained,) = re.findall(r"`(\(cat 00000000\.json; .*sha256sum)`", readme)

    verified = attempt(["sh", "-c", f"cd '{directory}' && {line}"], timeout=30)
    hashed = attempt(["sh", "-c", f"cd '{directory}' && {chained}"], timeout=30)

    assert "Signature Verified Successfully" in verified.output
    assert entries[1].place.previous is not None
    assert hashed.output.split()[0] == entries[1].place.previous.hex()
    document = directory / "00000000.json"
    document.write_bytes(document.read_bytes().replace(b"backup", b"backuP"))
    assert attempt(["sh", "-c", f"cd '{directory}' && {line}"], timeout=30).status != 0


def test_old_entries_are_cut_where_that_is_configured(archive: Archive, entries: list[Entry]) -> None:
    """`audit_keep` is for expire; without it nothing is ever cut, and a dry run says what would go."""
    config = yaml.safe_load(archive.config.read_text())
    assert pgvault_json("expire", "--dry-run", "--config", archive.config)["audit"] is None
    archive.config.write_text(yaml.safe_dump({**config, "audit_keep": "7y"}))

    found = pgvault_json("expire", "--dry-run", "--config", archive.config)["audit"]

    assert (found["signer"], found["first_kept"], found["notes"]) == (entries[0].signer, None, [])
    archive.config.write_text(yaml.safe_dump({**config, "audit_keep": "seven"}))
    refused = pgvault("expire", "--dry-run", "--config", archive.config)
    assert "7y" in refused.errors
