from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from pgvault.pipeline.header import Kind
from pgvault.postgres.lsn import Lsn
from pgvault.repository import layout
from pgvault.repository.objects import put_json, read_json
from pgvault.repository.repository import Repository
from pgvault.repository.watermark import StoredWatermark, put_watermark, read_watermarks

SYSTEM = 7501234567890123456
AT = datetime(2026, 1, 15, 10, 30, 0, 123456, tzinfo=UTC)
MARK = StoredWatermark(SYSTEM, AT, Lsn.parse("16/B3000120"), 3, is_idle=True, source="backup", next_xid=742)


def test_watermarks_read_back_oldest_first(repository: Repository) -> None:
    """By the server's clock, those of other systems and those before `since` left out."""
    later = replace(MARK, server_at=AT + timedelta(hours=1), is_idle=False, source="check")
    for mark in (later, MARK, replace(MARK, system_identifier=7), replace(MARK, server_at=AT - timedelta(hours=1))):
        put_watermark(repository, "main", mark)

    assert read_watermarks(repository, "main", SYSTEM, since=AT) == (MARK, later)
    assert read_watermarks(repository, "shop", SYSTEM, since=AT) == ()


def test_watermark_is_that_of_format_1(repository: Repository) -> None:
    """Pinned: name and fields."""
    put_watermark(repository, "main", MARK)

    (name,) = repository.deciding.store.children("clusters/main/watermarks")
    assert layout.LABEL.fullmatch(name)
    assert name.startswith("20260115T103000Z-")
    assert read_json(repository, f"clusters/main/watermarks/{name}", Kind.WATERMARK) == {
        "system_identifier": "7501234567890123456",
        "server_at": "2026-01-15T10:30:00.123456+00:00",
        "lsn": "16/B3000120",
        "timeline": 3,
        "is_idle": True,
        "source": "backup",
        "next_xid": 742,
    }


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("system_identifier", 7),
        ("server_at", "2026-01-15T10:30:00"),
        ("server_at", None),
        ("lsn", "16"),
        ("lsn", 7),
        ("timeline", "3"),
        ("source", None),
        ("next_xid", "742"),
        ("next_xid", -1),
    ],
)
def test_malformed_watermark_proves_nothing(
    repository: Repository, caplog: pytest.LogCaptureFixture, field: str, value: object
) -> None:
    """What proves something is read strictly; and what proves nothing stands in the way of nothing."""
    put_json(repository, path(), Kind.WATERMARK, document=document() | {field: value})
    later = replace(MARK, server_at=AT + timedelta(hours=1))
    put_watermark(repository, "main", later)

    assert read_watermarks(repository, "main", SYSTEM, since=AT) == (later,)
    assert path() in caplog.text


def test_watermark_without_a_transaction_number_is_read(repository: Repository) -> None:
    """Where it was not noted."""
    put_watermark(repository, "main", replace(MARK, next_xid=None))

    assert read_watermarks(repository, "main", SYSTEM, since=AT) == (replace(MARK, next_xid=None),)


@pytest.mark.parametrize("value", [1, "true", None, [1]])
def test_only_true_is_idle(repository: Repository, value: object) -> None:
    """An idle watermark is a proof, so in doubt there is none."""
    put_json(repository, path(), Kind.WATERMARK, document=document() | {"is_idle": value})

    (mark,) = read_watermarks(repository, "main", SYSTEM, since=AT)

    assert mark.is_idle is False


def path() -> str:
    return f"{layout.watermarks('main')}/20260115T103000Z-0000"


def document() -> dict[str, Any]:
    return {
        "system_identifier": str(SYSTEM),
        "server_at": AT.isoformat(),
        "lsn": "16/B3000120",
        "timeline": 3,
        "is_idle": True,
        "source": "backup",
        "next_xid": 742,
    }
