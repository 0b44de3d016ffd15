"""Audit entries are read back with everything else, and healed from a copy that holds them."""

from __future__ import annotations

import pytest

from pgvault.audit.chain import append, entry_at
from pgvault.audit.facts import CHECKPOINT, Cut
from pgvault.audit.signer import SigningKey
from pgvault.pipeline.header import Kind
from pgvault.pipeline.seal import seal, split
from pgvault.repository import layout
from pgvault.repository.objects import address
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
    last = entry_at(copies.repository, KEY.public.signer, 1)
    cut = Cut(2, last.head.sha256, last.at)
    event = {"what": CHECKPOINT, "result": "ok", "details": cut.event()}
    append(copies.repository, event, key=KEY, at=AT)
    for path in PATHS[:2]:
        del copies.primary.objects[path]

    repair(copies)

    assert [path in copies.primary.objects for path in PATHS] == [False, False, True]


def test_nothing_is_healed_from_what_the_chains_key_did_not_sign(copies: Copies) -> None:
    """Whoever keeps a further copy and holds the repository's key writes entries: none gets into another copy."""
    path, behind = PATHS[1], layout.audit_entry(KEY.public.signer, 3)
    document, _, signature = entry_at(copies.repository, KEY.public.signer, 1).content.partition(b"\n")
    forged = document.replace(b'"backup"', b'"verify"') + b"\n" + signature
    for name in (path, behind):
        place = address(copies.repository, name, Kind.AUDIT)
        copies.dr.objects[name] = seal(split(forged), place, key=copies.repository.keys.active).body
    flip(copies.primary, path)

    reports, _ = repair(copies)

    assert "its signature is not by the key that it names" in str(said(of(reports, "dr")))
    assert any(path in each for each in said(of(reports, "primary")))
    assert behind not in copies.primary.objects
