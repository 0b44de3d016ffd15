"""Receipts: the entry of a drill, found among others, and checked by plain openssl."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from pgvault.audit import receipt
from pgvault.audit.chain import append
from pgvault.audit.entry import Entry
from pgvault.audit.receipt import (
    DOCUMENT,
    SIGNATURE,
    VERIFY,
    find_receipt,
    is_of_report,
    receipt_details,
    write_receipt,
)
from pgvault.audit.signer import SigningKey
from pgvault.errors import DirectoryNotEmpty
from pgvault.instants import iso
from pgvault.process import Finished, attempt
from pgvault.repository import layout
from pgvault.repository.repository import Repository
from tests.fakes import MemoryStore

AT = datetime(2026, 1, 15, 10, 30, tzinfo=UTC)
HOUR = timedelta(hours=1)


def report_of(drill_id: str, at: datetime = AT, **more: Any) -> dict[str, Any]:
    return {"id": drill_id, "started_at": iso(at), "postgresql": "18.6", **more}


def record(repository: Repository, key: SigningKey, report: Mapping[str, Any], *, at: datetime) -> Entry:
    event = {"what": "drill", "result": "ok", "details": receipt_details(report, version="0.7.0")}
    return append(repository, event, key=key, at=at)


def openssl(directory: Path) -> Finished:
    """Run the documented line."""
    return attempt(["sh", "-c", f"cd {shlex.quote(str(directory))} && {VERIFY}"], timeout=60)


def test_plain_openssl_verifies_it(repository: Repository, tmp_path: Path) -> None:
    """The line that is printed; one changed byte anywhere in it, and it says no."""
    entry = record(repository, SigningKey.generate(), report_of("D"), at=AT)
    write_receipt(entry, tmp_path / "receipt")
    document = tmp_path / "receipt" / DOCUMENT
    good = openssl(tmp_path / "receipt")
    whole = document.read_bytes()

    document.write_bytes(whole.replace(b'"D"', b'"E"'))
    bad = openssl(tmp_path / "receipt")

    assert good.status == 0, good
    assert "Signature Verified Successfully" in good.output + good.errors
    assert bad.status != 0
    assert json.loads(whole)["event"]["details"]["report"]["id"] == "D"
    assert (tmp_path / "receipt" / SIGNATURE).stat().st_size == 64


def test_what_exists_is_not_overwritten(repository: Repository, tmp_path: Path) -> None:
    """A receipt goes where there is none."""
    entry = record(repository, SigningKey.generate(), report_of("D"), at=AT)
    write_receipt(entry, tmp_path)

    with pytest.raises(DirectoryNotEmpty, match=DOCUMENT):
        write_receipt(entry, tmp_path)


def test_it_is_found_in_a_long_chain(repository: Repository, store: MemoryStore) -> None:
    """By halving: among 200 entries of two hosts with few reads, wherever it is; what is not there is None."""
    one, other = SigningKey.generate(), SigningKey.generate()
    for number in range(100):
        for key in (one, other):
            append(repository, {"what": "backup", "result": "ok"}, key=key, at=AT + number * HOUR)
        if number in (0, 60, 99):
            record(repository, one, report_of(f"D{number}", AT + number * HOUR), at=AT + number * HOUR + HOUR / 2)

    for number in (0, 60, 99):
        found = find_receipt(repository, report_of(f"D{number}", AT + number * HOUR))
        assert found is not None
        assert found.event["details"]["report"]["id"] == f"D{number}"
    assert find_receipt(repository, report_of("never", AT + 30 * HOUR)) is None


def test_a_chain_that_was_cut_off_or_damaged_does_not_hide_it(repository: Repository, store: MemoryStore) -> None:
    """What is older than `audit_keep` is gone; that an entry is missing is for `audit verify` to tell."""
    key = SigningKey.generate()
    for number in range(20):
        append(repository, {"what": "backup", "result": "ok"}, key=key, at=AT + number * HOUR)
    entry = record(repository, key, report_of("D", AT + 20 * HOUR), at=AT + 20 * HOUR)
    for number in range(8):
        del store.objects[layout.audit_entry(entry.signer, number)]
    damaged = layout.audit_entry(entry.signer, 15)
    store.objects[damaged] = store.objects[damaged][:-1]

    found = find_receipt(repository, report_of("D", AT + 20 * HOUR))

    assert found is not None
    assert found.content == entry.content


def test_rows_stay_in_the_report() -> None:
    """An entry can not be removed for years, and rows may be about people: their number is kept."""
    check = {"name": "orphans", "verdict": "failed", "sample": ["id=7 alice@example.com", "id=8"]}
    details = receipt_details(report_of("D", checks=[check]), version="0.7.0")

    assert details["report"]["checks"] == [{"name": "orphans", "verdict": "failed", "rows_left_out": 2}]
    assert "alice" not in json.dumps(details)


def test_it_says_by_what_and_for_which_clause() -> None:
    """Versions, clauses, and no claim of compliance."""
    details = receipt_details(report_of("D"), version="0.7.0")

    assert details["versions"]["pgvault"] == "0.7.0"
    assert details["versions"]["postgresql"] == "18.6"
    assert details["versions"]["os"]
    clauses = " ".join(each["clause"] for each in details["serves"])
    assert all(clause in clauses for clause in ("A1.2", "A1.3", "CC7.5", "A.8.13", "A.5.29", "A.5.30"))
    assert details["claims"] == receipt.NO_CLAIM


def test_the_entry_of_a_stranger_does_not_stand_for_it(repository: Repository) -> None:
    """Whoever holds the repository's key can sign a nicer report with a key of their own: who is believed goes first.

    That the report that is stored beside it was replaced is seen, too.
    """
    own, strangers = SigningKey.generate(), [SigningKey.generate() for _ in range(3)]
    failed = report_of("D", checks=[{"name": "orphans", "verdict": "failed"}])
    nicer = report_of("D", checks=[])
    for key in strangers:
        record(repository, key, nicer, at=AT)
    entry = record(repository, own, failed, at=AT)

    found = find_receipt(repository, nicer, believed=[str(own.public)])

    assert found is not None
    assert found.content == entry.content
    assert is_of_report(found, failed)
    assert not is_of_report(found, nicer)
    assert find_receipt(repository, nicer) is not None


def test_one_object_far_behind_the_end_hides_nothing(repository: Repository, store: MemoryStore) -> None:
    """Whoever may put objects, and no more, puts the last number there is: neither time nor memory goes with it."""
    entry = record(repository, SigningKey.generate(), report_of("D"), at=AT)
    store.objects[layout.audit_entry(entry.signer, 99_999_999)] = b"?"

    found = find_receipt(repository, report_of("D"))

    assert found is not None
    assert found.content == entry.content
