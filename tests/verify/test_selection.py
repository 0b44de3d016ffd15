"""A share by chance, or what is new: less is read, what was left out is said, and a share never gives a mark."""

from __future__ import annotations

from datetime import timedelta

import pytest

from pgvault.errors import UsageError
from pgvault.repository.logical import LogicalType
from pgvault.verify.archive import STEP_BACK
from pgvault.verify.selection import Selection, parse_share
from tests.archive import AT, make_segment
from tests.repository.logicals import LABEL as LOGICAL
from tests.repository.logicals import put_logical
from tests.verify.copies import Copies, flip, of, said
from tests.verify.test_verify_copies import of_backup
from tests.verify.vault import LABELS, LAST, Vault, segment_of, wal_key

FIRST, SECOND = LABELS
LONG_AGO = AT - timedelta(days=1)
TOMORROW = AT + timedelta(days=1)


@pytest.mark.parametrize(("text", "share"), [("5%", 0.05), ("100%", 1), ("0.5", 0.5), ("1", 1), ("0.1%", 0.001)])
def test_shares_are_read(text: str, share: float) -> None:
    """Per cent, or a fraction."""
    assert parse_share(text) == pytest.approx(share)


@pytest.mark.parametrize("text", ["0", "0%", "101%", "1.5", "-1%", "five", "", "%", "nan", "inf"])
def test_what_is_no_share_is_refused(text: str) -> None:
    """Nothing, more than everything, or no number."""
    with pytest.raises(UsageError, match="no share"):
        parse_share(text)


def test_a_drawing_is_of_its_seed_and_its_name() -> None:
    """The same again on request; others otherwise, and not always the same places of each backup."""
    items = list(range(1000))
    drawn = Selection(0.05, seed=7).draw("a", items)

    assert len(drawn) == 50
    assert drawn == sorted(drawn)
    assert drawn == Selection(0.05, seed=7).draw("a", items)
    assert drawn != Selection(0.05, seed=8).draw("a", items)
    assert drawn != Selection(0.05, seed=7).draw("b", items)
    assert Selection().draw("a", items) == items
    assert len(Selection(0.0001).draw("a", items)) == 1


def test_a_sample_reads_less_says_so_and_gives_no_mark(vault: Vault) -> None:
    """Roots, refs and lists always; at least one pack of each backup, and one segment."""
    copies = Copies(vault)
    whole = of(copies.verify(), "primary")
    for key in [key for key in copies.primary.objects if "/verified/" in key]:
        del copies.primary.objects[key]
    reports = copies.verify(Selection(0.05, seed=1))
    report = of(reports, "primary")

    reports.require_whole()
    assert report.backups == list(LABELS)
    assert report.segment_count == 1
    assert 0 < report.object_count < whole.object_count
    packs = [key for key in copies.primary.objects if "/packs/" in key or "/maps/" in key]
    assert report.left_out_count == len(packs) + 2 - 2 + whole.segment_count - 1
    assert copies.marks() == {}


@pytest.mark.parametrize("name", ["manifest", "refs", "parts/00000000"])
def test_a_sample_reads_what_all_else_hangs_on(vault: Vault, name: str) -> None:
    """However small."""
    copies = Copies(vault)
    flip(copies.dr, of_backup(FIRST, name), 40)

    assert said(of(copies.verify(Selection(0.01)), "dr"))


def test_enough_samples_find_a_damaged_pack_and_take_the_mark_back(vault: Vault) -> None:
    """Any pack and any segment may be drawn."""
    copies = Copies(vault)
    copies.verify()
    flip(copies.dr, of_backup(FIRST, "packs/00000003"))
    seed = next(seed for seed in range(200) if said(of(copies.verify(Selection(0.05, seed=seed), only="dr"), "dr")))

    assert seed > 0
    assert (FIRST, "dr") not in copies.marks()


def test_a_sample_leaves_files_of_logical_backups_out(vault: Vault) -> None:
    """What is in them takes every pack of theirs; their objects are drawn as others are."""
    put_logical(vault.repository)
    put_logical(vault.repository, "20260115T130000Z-5c4e", type=LogicalType.SCHEMA, has_globals=False)

    assert LOGICAL in of(Copies(vault).verify(Selection(0.01)), "primary").backups


def test_since_reads_what_is_new_and_what_never_was_verified(vault: Vault) -> None:
    """An old backup that was read back before is left out, with its damage; its root is opened."""
    copies = Copies(vault)
    lately = Selection(since=AT + timedelta(minutes=7))  # the second began then
    assert of(copies.verify(lately), "dr").backups == [FIRST, SECOND]
    report = of(copies.verify(lately), "dr")
    assert (report.backups, report.backups_left_out) == ([SECOND], 1)
    flip(copies.dr, of_backup(FIRST, "packs/00000001"))
    assert said(of(copies.verify(lately), "dr")) == []
    assert said(of(copies.verify(Selection(since=LONG_AGO)), "dr"))
    assert of(copies.verify(lately), "dr").backups == [FIRST, SECOND]


def test_since_reads_wal_that_was_pushed_since(vault: Vault) -> None:
    """Told by what the segments say themselves, with some before, as pushes overtake each other."""
    last = LAST + STEP_BACK
    for number in range(LAST + 1, last + 1):
        content = make_segment(segment_of(number))
        vault.put_file(segment_of(number).name, content, at=AT + timedelta(minutes=number - LAST))
    copies = Copies(vault)
    copies.verify()

    def read(since_minutes: int) -> int:
        return of(copies.verify(Selection(since=AT + timedelta(minutes=since_minutes))), "dr").segment_count

    assert read(STEP_BACK) == STEP_BACK + 1
    assert read(STEP_BACK + 1) == 0
    assert read(-1) == last - 5 + 1
    flip(copies.dr, wal_key(segment_of(last).name), 150)
    assert said(of(copies.verify(Selection(since=AT + timedelta(minutes=STEP_BACK))), "dr"))


def test_nothing_new_is_said(vault: Vault) -> None:
    """Green, and not in silence."""
    copies = Copies(vault)
    copies.verify()
    report = of(copies.verify(Selection(since=TOMORROW)), "primary")

    assert (report.backups, report.segment_count, report.backups_left_out) == ([], 0, 2)
    assert any("nothing was chosen" in note for note in report.notes)
