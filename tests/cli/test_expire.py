"""`expire`, `delete` and `undelete`: what they print, and how they end; on a repository in a directory."""

from __future__ import annotations

from pathlib import Path

import pytest

from pgvault.errors import ObjectMissing, Refused, UsageError, VerifyFailed
from pgvault.repository import layout
from tests.archive import Archive, make_archive
from tests.cli.here import pgvault, pgvault_json
from tests.expire.vaults import Vault, label_of

KEPT = [label_of(number) for number in (1, 2)]
OLD = label_of(0)


@pytest.fixture
def held(archive: Archive) -> Archive:
    """Three backups, two of which policy wants."""
    Vault(archive.repository, {}).fill(3)
    text = archive.config.read_text().replace("{dsn: ''}", "{dsn: '', retention: {full: 2, window: 1d, grace: 2h}}")
    archive.config.write_text(text)
    return archive


def test_expire_marks_and_says_why(held: Archive) -> None:
    """What stays, what is marked, where the window begins; dry first, then for good, then there is nothing to do."""
    words = ("--config", held.config, "expire")

    dry = pgvault(*words, "--dry-run")
    assert dry.status == 0, dry
    assert f"to be marked: {OLD}: no rule of retention wants it any more" in dry.output
    assert "window in copy primary: begins 2026-03-01 01:00:00+00:00" in dry.output
    document = pgvault_json(*words)
    assert [each["label"] for each in document["clusters"][0]["plan"]["kept"]] == KEPT
    assert document["clusters"][0]["done"]["marked"] == [OLD]
    again = pgvault("-v", *words)
    assert (again.status, f"marked before: {OLD}: its grace is not over, until" in again.output) == (0, True)
    assert "nothing to do" in again.output


def test_a_marked_backup_is_listed_and_taken_back(held: Archive) -> None:
    """With when it goes, who marked it, and how to keep it."""
    words = ("--config", held.config)
    pgvault(*words, "expire")

    listed = pgvault(*words, "list")
    assert f"expiring: {OLD}, from " in listed.output
    (expiring,) = pgvault_json(*words, "list")["expiring"]
    assert (expiring["label"], expiring["deliberate"], expiring["state"]) == (OLD, False, "marked")
    assert pgvault(*words, "undelete", OLD).status == 0
    assert pgvault_json(*words, "list")["expiring"] == []
    assert pgvault(*words, "undelete", OLD).status == UsageError.exit_code
    assert pgvault(*words, "undelete", "20260101T000000Z-0000").status == ObjectMissing.exit_code


def test_deleting_takes_the_label_twice(held: Archive) -> None:
    """And what is held is refused, by the name of who holds it."""
    words = ("--config", held.config)

    assert pgvault(*words, "delete", OLD).status == Refused.exit_code
    assert pgvault(*words, "delete", OLD, "--confirm", KEPT[0]).status == Refused.exit_code
    assert pgvault_json(*words, "list")["expiring"] == []
    pgvault(*words, "hold", OLD, "--why", "incident 42")
    refused = pgvault(*words, "delete", OLD, "--confirm", OLD)
    assert refused.status == Refused.exit_code
    assert "incident 42" in refused.errors
    (held_one,) = pgvault_json(*words, "list")["holds"]
    pgvault(*words, "release", held_one["id"])
    deleted = pgvault(*words, "delete", OLD, "--confirm", OLD, "--why", "wrong server")
    assert deleted.status == 0, deleted
    assert f"marked: {OLD}" in deleted.output
    (expiring,) = pgvault_json(*words, "list")["expiring"]
    assert (expiring["why"], expiring["deliberate"]) == ("wrong server", True)


def test_deleting_much_takes_the_window_that_a_dry_run_printed(held: Archive) -> None:
    """Two of three at once."""
    two = (OLD, KEPT[0])
    words = ("--config", held.config, "delete", *two)
    confirmed = (*words, "--confirm", OLD, "--confirm", KEPT[0])

    assert pgvault(*confirmed).status == Refused.exit_code
    dry = pgvault_json(*words, "--dry-run")
    assert dry["plan"]["needs_shrink_window_to"] is True
    (window,) = dry["plan"]["windows"]
    wrong = pgvault(*confirmed, "--shrink-window-to", window["begins_before"])
    assert wrong.status == Refused.exit_code
    right = pgvault(*confirmed, "--shrink-window-to", window["begins_after"])
    assert right.status == 0, right
    assert len(pgvault_json("--config", held.config, "list")["expiring"]) == 2


def test_without_retention_nothing_expires(archive: Archive) -> None:
    """It is said, and no error."""
    Vault(archive.repository, {}).fill(3)

    finished = pgvault("-v", "--config", archive.config, "expire")

    assert finished.status == 0
    assert "has no retention section: nothing expires" in finished.output


def test_every_cluster_ends_with_its_own_word(tmp_path: Path) -> None:
    """One whose root is damaged ends the command red; the other is done all the same."""
    archive = make_archive(tmp_path)
    vault = Vault(archive.repository, {}).fill(3)
    vault.beside("other").fill(3)
    rules = "{dsn: '', retention: {full: 2, window: 1d, grace: 2h}}"
    text = archive.config.read_text().replace("main: {dsn: ''}", f"main: {rules}\n  other: {rules}")
    archive.config.write_text(text)
    root = archive.root / layout.manifest("main", KEPT[0])
    root.write_bytes(root.read_bytes()[:-1])

    finished = pgvault("--config", archive.config, "expire", "--all")

    assert finished.status == VerifyFailed.exit_code
    assert "cluster 'main'" in finished.errors
    assert f"marked: {OLD}" in finished.output
    assert pgvault("--config", archive.config, "expire", "--all", "--cluster", "main").status == UsageError.exit_code
    assert pgvault("--config", archive.config, "expire", "--cluster", "other").status == 0
