"""Audit entries are read back with everything else, and healed from a copy that holds them."""

from __future__ import annotations

import pytest

from pgvault.audit.chain import append, entry_at
from pgvault.audit.facts import CHECKPOINT, Cut
from pgvault.audit.signer import SigningKey
from pgvault.repository import layout
from tests.archive import AT
from tests.verify.copies import Copies, flip, of, said
from tests.verify.test_repair import repair
from tests.verify.vault import Vault

KEY = SigningKey.generate()
PATHS = [layout.audit_entry(KEY.public.signer, number) for number in range(3)]


@pytest.fixture
def copies(vault: Vault) -> Copies:
    """Two copies with three entries of one chain."""
    copies = Copies(vault)
    for _ in PATHS:
        append(copies.repository, {"what": "backup", "result": "ok"}, key=KEY, at=AT)
    copies.dr.objects |= copies.primary.objects
    return copies


def test_damaged_entries_are_healed(copies: Copies) -> None:
    """In whichever copy: from the other one."""
    flip(copies.primary, PATHS[0])
    flip(copies.dr, PATHS[1])

    assert [len(said(each)) for each in copies.verify().copies] == [1, 1]

    reports, _ = repair(copies)
    assert said(of(reports, "primary")) == said(of(reports, "dr")) == []
    assert all(copies.primary.objects[path] == copies.dr.objects[path] for path in PATHS)


def test_entries_that_were_deleted_are_healed(copies: Copies) -> None:
    """Where the deciding copy lacks what another one holds, at the end or at the beginning."""
    for path in (PATHS[0], PATHS[2]):
        del copies.primary.objects[path]

    problems = said(of(copies.verify(), "primary"))
    repair(copies)

    assert problems == [
        f"audit entry {path}: it is in copy 'dr', and gone from the deciding copy" for path in (PATHS[0], PATHS[2])
    ]
    assert all(path in copies.primary.objects for path in PATHS)


def test_entries_that_were_cut_stay_away(copies: Copies) -> None:
    """A copy that hears of a checkpoint late brings nothing back."""
    cut = Cut(2, entry_at(copies.repository, KEY.public.signer, 1).head.sha256)
    event = {"what": CHECKPOINT, "result": "ok", "details": cut.event()}
    append(copies.repository, event, key=KEY, at=AT)
    for path in PATHS[:2]:
        del copies.primary.objects[path]

    repair(copies)

    assert [path in copies.primary.objects for path in PATHS] == [False, False, True]
