"""The beginning of a chain goes behind a signed checkpoint, in whole groups, and in no other way."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from pgvault.audit.chain import entry_at, next_number
from pgvault.audit.facts import Cut
from pgvault.errors import StoreDenied
from pgvault.expire import auditcut
from pgvault.expire.auditcut import NOT_WHOLE, CutReport, apply_cut, plan_cut
from pgvault.repository import layout
from tests.audit.chains import AT, MINUTE, Vault, kinds, said

GROUP = 4
KEEP = timedelta(days=7 * 365)
YEARS_LATER = AT + KEEP
MUCH_LATER = YEARS_LATER + KEEP + timedelta(days=1)
BY = {"user": "postgres", "host": "db1"}


@pytest.fixture
def vault(monkeypatch: pytest.MonkeyPatch) -> Vault:
    """Eleven entries, a minute after the other, in groups of four instead of a thousand."""
    monkeypatch.setattr(layout, "AUDIT_GROUP", GROUP)
    monkeypatch.setattr(auditcut, "GROUP", GROUP)
    vault = Vault()
    for _ in range(11):
        vault.do(vault.one)
    return vault


def trim(vault: Vault, *, now: datetime) -> CutReport:
    """Plan and apply, as `expire` does."""
    vault.first.at = now
    plan = plan_cut(vault.repository, vault.one.public.signer, keep=KEEP, now=now)
    return apply_cut(vault.repository, plan, key=vault.one, by=BY, at=now)


def held(vault: Vault, copy: int = 0) -> list[int]:
    """The numbers of the entries that a copy holds."""
    return sorted(int(path[-8:]) for path in vault.stores[copy].objects if path.startswith("audit/"))


def test_nothing_goes_that_is_not_old_enough(vault: Vault) -> None:
    """Nor a group of which one entry is too young."""
    assert trim(vault, now=YEARS_LATER).plan.cut is None
    assert trim(vault, now=YEARS_LATER + 3 * MINUTE).plan.cut is None
    assert held(vault) == list(range(11))


def test_whole_groups_go_behind_a_checkpoint(vault: Vault) -> None:
    """In a copy as soon as that holds the checkpoint; what is left is whole, and says what went."""
    now = YEARS_LATER + 9 * MINUTE
    report = trim(vault, now=now)

    assert held(vault) == [8, 9, 10, 11]
    assert held(vault, 1) == list(range(11))
    assert report.notes == ["copy 'dr' lacks the checkpoint as yet, and keeps its entries until then"]
    vault.copy()
    trim(vault, now=now)
    assert held(vault) == held(vault, 1) == [8, 9, 10, 11]
    verdict = vault.verify(pins={"one": vault.one}, keep=KEEP, now=MUCH_LATER)
    assert verdict.is_proven, verdict.remarks
    assert "entries 0 to 7" in said(verdict, "cut")
    assert next_number(vault.repository, vault.one.public.signer) == 12


def test_a_clean_chain_is_left_alone(vault: Vault) -> None:
    """The next run reads nothing but names, and one entry."""
    vault.stores.pop()
    object.__setattr__(vault.repository, "copies", vault.repository.copies[:1])
    trim(vault, now=YEARS_LATER + 9 * MINUTE)
    vault.first.calls.clear()

    again = trim(vault, now=YEARS_LATER + 9 * MINUTE)

    assert again.plan.cut is None
    assert not any(verb in ("put", "delete") for verb, _ in vault.first.calls)
    assert sum(verb == "get" for verb, _ in vault.first.calls) <= 1


def test_the_next_cut_follows_the_last_one(vault: Vault) -> None:
    """A second checkpoint names more; the first may go with what it named."""
    vault.copy()
    trim(vault, now=YEARS_LATER + 5 * MINUTE)
    vault.at = YEARS_LATER + 10 * MINUTE
    for _ in range(4):
        vault.do(vault.one)
    trim(vault, now=YEARS_LATER + KEEP + 10 * MINUTE)
    vault.copy()
    trim(vault, now=YEARS_LATER + KEEP + 10 * MINUTE)

    verdict = vault.verify(pins={"one": vault.one}, keep=KEEP, now=MUCH_LATER)

    assert min(held(vault)) == min(held(vault, 1)) == 12
    assert verdict.is_whole, verdict.remarks


def test_a_run_that_was_killed_is_made_good(vault: Vault) -> None:
    """Entries that the checkpoint gave up, and that are still there, go in the next run."""
    now = YEARS_LATER + 9 * MINUTE
    before = dict(vault.first.objects)
    trim(vault, now=now)
    left = vault.path(vault.one, 2)
    vault.first.objects[left] = before[left]
    vault.copy()

    assert vault.verify(pins={"one": vault.one}, keep=KEEP, now=MUCH_LATER).is_whole
    trim(vault, now=now)

    assert held(vault) == held(vault, 1) == [8, 9, 10, 11]


def test_a_chain_that_was_tampered_with_is_not_cut(vault: Vault) -> None:
    """Neither one with a hole nor one whose beginning is gone: expire launders nothing."""
    for number in (1, 0):
        vault.remove(vault.one, [number])

        report = trim(vault, now=YEARS_LATER + 9 * MINUTE)

        assert report.plan.note == NOT_WHOLE
        assert next_number(vault.repository, vault.one.public.signer) == 11
    vault.remove(vault.one, [2, 3])
    assert trim(vault, now=YEARS_LATER + 9 * MINUTE).plan.note == NOT_WHOLE
    assert kinds(vault.verify(pins={"one": vault.one}, keep=KEEP, now=MUCH_LATER)) == {"beginning"}


def test_a_store_that_denies_is_told(vault: Vault, monkeypatch: pytest.MonkeyPatch) -> None:
    """What could not be removed stays; the chain is whole all the same."""

    def deny(key: str) -> None:
        raise StoreDenied(f"{key} is locked")

    monkeypatch.setattr(vault.first, "delete", deny)

    report = trim(vault, now=YEARS_LATER + 9 * MINUTE)

    assert report.tallies["primary"].first_denial is not None
    assert vault.verify(pins={"one": vault.one}, keep=KEEP, now=YEARS_LATER + 9 * MINUTE).is_whole
    assert entry_at(vault.repository, vault.one.public.signer, 11).event["by"] == BY


def forge_checkpoint(vault: Vault, first: int, *, cut_at: datetime) -> None:
    """What the holder of the signing key can say, and do: name what they like, and remove some of it."""
    vault.do(vault.one, "checkpoint", **Cut(first, vault.last_hash(vault.one, first - 1), cut_at).event())
    vault.remove(vault.one, [0, 1])


@pytest.mark.parametrize(
    ("cut_at", "why"),
    [
        (AT, "which was to be kept until 2033"),
        (AT - KEEP, "the first that stays is of 2026"),
    ],
)
def test_a_stolen_key_cuts_nothing_young(vault: Vault, cut_at: datetime, why: str) -> None:
    """The verifier's own audit_keep says how much may be gone, whatever a checkpoint claims; expire follows none."""
    forge_checkpoint(vault, 9, cut_at=cut_at)

    verdict = vault.verify(pins={"one": vault.one}, keep=KEEP, now=MUCH_LATER)

    assert kinds(verdict) == {"cut-young"}
    assert why in said(verdict, "cut-young")
    note = trim(vault, now=YEARS_LATER).plan.note
    assert note is not None
    assert why in note
    assert held(vault) == list(range(2, 12))


def test_nothing_is_cut_where_nothing_is_configured(vault: Vault) -> None:
    """Without audit_keep the verifier takes no checkpoint for an excuse."""
    trim(vault, now=YEARS_LATER + 9 * MINUTE)
    vault.copy()

    assert kinds(vault.verify(pins={"one": vault.one}, now=MUCH_LATER)) == {"cut-young"}
    assert vault.verify(pins={"one": vault.one}, keep=KEEP, now=MUCH_LATER).is_whole
