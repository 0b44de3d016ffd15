from __future__ import annotations

import logging
from datetime import UTC, datetime

import pytest

from pgvault.errors import UsageError
from pgvault.pipeline.header import Kind
from pgvault.postgres.lsn import Lsn
from pgvault.repository import layout
from pgvault.repository.gaps import GapRecord, put_gap, read_gaps
from pgvault.repository.objects import put_json
from pgvault.repository.repository import Repository
from tests.fakes import MemoryStore

AT = datetime(2026, 1, 15, 10, 30, tzinfo=UTC)
GAP = GapRecord(7, 2, Lsn.parse("1/4000000"), Lsn.parse("1/6000000"), "slot 'pgvault' was lost – „weg“", AT)


def test_gaps_come_back_as_they_were_noted(repository: Repository) -> None:
    """By timeline and start, of one system only."""
    later = GapRecord(7, 2, Lsn.parse("2/0"), Lsn.parse("2/8"), "x", AT)
    other = GapRecord(8, 1, Lsn(8), Lsn(16), "x", AT)
    for gap in (later, other, GAP):
        put_gap(repository, "main", gap)

    assert read_gaps(repository, "main", 7) == (GAP, later)
    assert read_gaps(repository, "main", 8) == (other,)
    assert read_gaps(repository, "other", 7) == ()


def test_a_gap_without_a_byte_is_none(repository: Repository) -> None:
    """Nothing is written that a reader would refuse."""
    with pytest.raises(UsageError):
        put_gap(repository, "main", GapRecord(7, 1, Lsn(8), Lsn(8), "x", AT))


@pytest.mark.parametrize(
    "changes",
    [{"end_lsn": "1/4000000"}, {"end_lsn": 5}, {"timeline": "2"}, {"noticed_at": "yesterday"}, {"cause": None}],
)
def test_a_malformed_record_is_passed_over_with_a_warning(
    repository: Repository, caplog: pytest.LogCaptureFixture, changes: dict[str, object]
) -> None:
    """It explains; a restore does not wait for it."""
    put_gap(repository, "main", GAP)
    document = {
        "gap": 1,
        "system_identifier": "7",
        "timeline": 2,
        "start_lsn": "1/4000000",
        "end_lsn": "1/6000000",
        "cause": "x",
        "noticed_at": "2026-01-15T10:30:00+00:00",
    }
    put_json(repository, f"{layout.gaps('main')}/20260115T103000Z-xxxx", Kind.GAP, document=document)
    assert len(read_gaps(repository, "main", 7)) == 2
    put_json(repository, f"{layout.gaps('main')}/20260115T103000Z-yyyy", Kind.GAP, document=document | changes)

    with caplog.at_level(logging.WARNING):
        assert len(read_gaps(repository, "main", 7)) == 2
    assert "gap record" in caplog.text


def test_a_damaged_record_is_passed_over(repository: Repository, store: MemoryStore) -> None:
    """Likewise where it does not open."""
    put_gap(repository, "main", GAP)
    (name,) = (name for name in store.objects if "/gaps/" in name)
    store.objects[name] = store.objects[name][:-1]

    assert read_gaps(repository, "main", 7) == ()
