"""What `status` says of the audit chains, without reading them."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from pgvault.monitor.auditstatus import look_at_audit
from pgvault.monitor.finding import Finding, Level
from pgvault.monitor.storecheck import clock_findings
from tests.audit.chains import AT, Vault

NOW = AT + timedelta(hours=3)


@pytest.fixture
def vault() -> Vault:
    vault = Vault(copies=1)
    for _ in range(3):
        vault.do(vault.one)
    return vault


def look(vault: Vault, **pins: str) -> list[Finding]:
    return list(look_at_audit(vault.repository, pins, now=NOW))


def test_the_newest_entry_of_each_pinned_key_is_told(vault: Vault) -> None:
    """With its age, and nothing else is read."""
    vault.first.calls.clear()

    (finding,) = look(vault, db1=str(vault.one.public))

    assert (finding.name, finding.level) == ("audit", Level.OK)
    assert "db1 3.0 h ago" in finding.detail or "db1 2.9 h ago" in finding.detail
    assert finding.figures["newest_seconds"] == (NOW - vault.at).total_seconds()
    assert sum(verb == "get" for verb, _ in vault.first.calls) == 1


def test_an_unknown_signer_is_red(vault: Vault) -> None:
    """Where keys are pinned, a chain of any other key is somebody's who should not write."""
    vault.do(vault.other)

    (finding,) = look(vault, db1=str(vault.one.public))

    assert (finding.level, finding.figures["unknown_signers"]) == (Level.RED, 1)
    assert vault.other.public.signer in finding.detail


def test_a_pinned_signer_without_a_chain_is_red(vault: Vault) -> None:
    """It never recorded anything, or all of it was removed."""
    (finding,) = look(vault, db1=str(vault.one.public), db2=str(vault.other.public))

    assert finding.level is Level.RED
    assert "db2 has no chain" in finding.detail


def test_nothing_recorded_is_not_green() -> None:
    """A claim over nothing never is."""
    (finding,) = look(Vault(copies=1))

    assert finding.level is Level.WARN


def test_without_pins_it_is_said(vault: Vault) -> None:
    """That nobody knows whose entries these are."""
    (finding,) = look(vault)

    assert "not pinned" in finding.detail


def test_an_end_that_does_not_open_is_red(vault: Vault) -> None:
    """Somebody changed it."""
    vault.put(vault.path(vault.one, 2), b"anything")

    assert look(vault, db1=str(vault.one.public))[0].level is Level.RED


def test_a_clock_that_is_off_is_a_finding(vault: Vault) -> None:
    """Of whoever wrote last, by what its newest entry says; and of this host when `check` asks the store."""
    vault.first.at = vault.at + timedelta(minutes=10)
    vault.do(vault.one)

    _, finding = look(vault, db1=str(vault.one.public))
    (live,) = clock_findings(vault.repository.copies, _Still())

    assert (finding.name, finding.level, finding.figures["offset_seconds"]) == ("clock", Level.WARN, -540.0)
    assert live.level is Level.WARN
    assert "off the store's" in live.detail


class _Still:
    """A clock that stands an hour ahead."""

    def now(self) -> datetime:
        return NOW

    def monotonic(self) -> float:
        return 0.0
