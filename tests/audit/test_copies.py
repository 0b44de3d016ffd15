"""Audit entries get into every copy, and a copy that lacks them says so."""

from __future__ import annotations

from datetime import timedelta

import pytest

from pgvault.audit.chain import append
from pgvault.audit.signer import SigningKey
from pgvault.mirror.facts import Scope, read_facts
from pgvault.mirror.plan import Lane, plan_copy
from pgvault.mirror.run import CopyOrder, copy_into
from pgvault.monitor.copylag import judge_copies, look_at_copies
from pgvault.monitor.finding import Finding, Level
from pgvault.repository import layout
from tests.archive import StillClock
from tests.audit.chains import AT, Vault


@pytest.fixture
def vault() -> Vault:
    """Three entries that the further copy lacks."""
    vault = Vault()
    for _ in range(3):
        append(vault.repository, {"what": "backup", "result": "ok"}, key=vault.one, at=AT)
    return vault


def bring(vault: Vault) -> int:
    """Copy what is missing, as `pgvault copy --cluster nosuch` does; return how many objects that were."""
    source, target = vault.repository.copies
    report = copy_into(CopyOrder(source, (target,), StillClock(), clusters=frozenset({"nosuch"})), target)
    assert report.error is None
    return report.objects


def judged(vault: Vault, after: timedelta) -> Finding:
    """What `status` says of the further copy."""
    (finding,) = judge_copies(look_at_copies(vault.repository, "main", now=AT + after))
    return finding


def test_entries_are_brought(vault: Vault) -> None:
    """Whichever cluster is copied: they belong to all; then every copy is whole by itself."""
    assert bring(vault) == 3

    assert vault.verify(pins={"one": vault.one}).is_proven
    assert bring(vault) == 0


def test_missing_entries_are_lag(vault: Vault) -> None:
    """They are counted, and late by when the oldest was written."""
    late = judged(vault, timedelta(days=2))

    assert (late.level, late.figures["objects"]) == (Level.RED, 3)
    assert late.figures["backup_seconds"] == 2 * 86400.0
    assert judged(vault, timedelta(hours=1)).level is Level.OK


def test_years_are_not_listed_by_who_looks_often(vault: Vault) -> None:
    """Of a long chain `status` lists the newest groups, and `copy` all of them."""
    mallory = SigningKey.generate()
    for number in (0, 1000, 2000):
        vault.put(layout.audit_entry(mallory.public.signer, number), b"anything", [vault.first])
    source, target = vault.repository.copies

    hasty = plan_copy(Lane.BACKUPS, read_facts(source, target, Lane.BACKUPS, scope=Scope(is_hasty=True)))
    whole = plan_copy(Lane.BACKUPS, read_facts(source, target, Lane.BACKUPS))

    assert (len(hasty.transfers), len(whole.transfers)) == (3 + 2, 3 + 3)
