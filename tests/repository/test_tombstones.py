from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from pgvault.errors import FormatUnsupported, ObjectCorrupt, PgvaultError, Refused
from pgvault.pipeline.header import Kind
from pgvault.repository import layout
from pgvault.repository.objects import put_json
from pgvault.repository.repository import Repository
from pgvault.repository.tombstones import (
    Order,
    State,
    begin_removal,
    keep,
    put_tombstone,
    read_tombstone,
    read_tombstones,
    take_back,
)
from tests.fakes import MemoryStore

AT = datetime(2026, 1, 15, 10, 30, tzinfo=UTC)
LABEL = "20260115T103000Z-0001"
ORDER = Order(AT, "root@db1", "too old")
LATER = Order(AT + timedelta(hours=1), "ann@db2", "needed")


def test_a_marked_backup_says_since_when_and_why(repository: Repository) -> None:
    """And only the first mark counts: its grace does not begin anew."""
    marked, is_new = put_tombstone(repository, "main", LABEL, ORDER)
    again = put_tombstone(repository, "main", LABEL, LATER)

    assert (marked.state, marked.order, is_new) == (State.MARKED, ORDER, True)
    assert again == (marked, False)
    assert read_tombstone(repository, "main", LABEL) == marked
    assert read_tombstones(repository, "main", [LABEL, "20260115T103000Z-0002"]) == {LABEL: marked}


def test_taken_back_it_stays_and_can_be_marked_again(repository: Repository) -> None:
    """Then the grace begins anew."""
    put_tombstone(repository, "main", LABEL, ORDER)

    assert take_back(repository, "main", LABEL, LATER)

    assert read_tombstones(repository, "main", [LABEL]) == {}
    assert not take_back(repository, "main", LABEL, LATER)
    marked, is_new = put_tombstone(repository, "main", LABEL, LATER)
    assert (marked.number, marked.at, is_new) == (2, LATER.at, True)


def test_who_asked_is_remembered(repository: Repository) -> None:
    """Retention takes back what it marked itself, not what somebody wants gone; also once it has begun."""
    marked, _ = put_tombstone(repository, "main", LABEL, ORDER, is_deliberate=True)
    begun = begin_removal(repository, "main", marked)

    assert begun is not None
    assert begun.is_deliberate
    assert read_tombstones(repository, "main", [LABEL]) == {LABEL: begun}


def test_what_was_never_marked_is_not_taken_back(repository: Repository, store: MemoryStore) -> None:
    """And nothing is written."""
    puts = store.puts

    assert not take_back(repository, "main", LABEL, LATER)
    assert store.puts == puts


def test_once_begun_it_is_too_late(repository: Repository) -> None:
    """Who takes it back hears so; who begins again goes on."""
    marked, _ = put_tombstone(repository, "main", LABEL, ORDER)
    begun = begin_removal(repository, "main", marked)

    assert begun is not None
    assert begun.order == ORDER
    assert begin_removal(repository, "main", marked) == begun
    assert begin_removal(repository, "main", begun) == begun
    with pytest.raises(Refused, match="is being removed already"):
        take_back(repository, "main", LABEL, LATER)


def test_once_taken_back_its_removal_does_not_begin(repository: Repository) -> None:
    """Both compete for one number: the one that comes second knows."""
    marked, _ = put_tombstone(repository, "main", LABEL, ORDER)
    take_back(repository, "main", LABEL, LATER)

    assert begin_removal(repository, "main", marked) is None
    assert not keep(repository, "main", marked, LATER)


def test_a_removal_is_withdrawn(repository: Repository) -> None:
    """Something wants the backup: it stays, and can be marked again."""
    marked, _ = put_tombstone(repository, "main", LABEL, ORDER)
    begun = begin_removal(repository, "main", marked)
    assert begun is not None

    assert keep(repository, "main", begun, LATER)

    assert read_tombstones(repository, "main", [LABEL]) == {}
    assert put_tombstone(repository, "main", LABEL, LATER)[1]


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"label": "another"}, ObjectCorrupt),
        ({"state": "gone"}, ObjectCorrupt),
        ({"at": "yesterday"}, ObjectCorrupt),
        ({"tombstone": 2}, FormatUnsupported),
    ],
)
def test_a_malformed_tombstone_is_an_error(
    repository: Repository, changes: dict[str, object], error: type[PgvaultError]
) -> None:
    """Unless whoever reads only lists: nobody may remove what was marked nobody knows when."""
    document = {"tombstone": 1, "label": LABEL, "state": "marked", "at": "2026-01-15T10:30:00+00:00"}
    document |= {"deliberate": False, "by": "x", "why": ""} | changes
    put_json(repository, layout.tombstone("main", LABEL, 0), Kind.TOMBSTONE, document=document)
    told: list[str] = []

    with pytest.raises(error):
        read_tombstones(repository, "main", [LABEL])
    assert read_tombstones(repository, "main", [LABEL], passed_over=lambda label, _: told.append(label)) == {}
    assert told == [LABEL]
