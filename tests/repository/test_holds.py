from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from pgvault.errors import ObjectCorrupt, ObjectExists, ObjectMissing, PgvaultError, Refused, UsageError
from pgvault.pipeline.header import Kind
from pgvault.repository import layout
from pgvault.repository.holds import Hold, put_hold, read_holds, release_hold
from pgvault.repository.objects import put_json
from pgvault.repository.repository import Repository
from pgvault.repository.tombstones import Order
from tests.fakes import MemoryStore

AT = datetime(2026, 1, 15, 10, 30, tzinfo=UTC)
HOUR = timedelta(hours=1)
ORDER = Order(AT, "ann@db1", "incident 42")
LABEL = "20260115T103000Z-0001"
OF_LABEL = Hold("20260115T103000Z-aaaa", LABEL, None, None, None, ORDER)
OF_RANGE = Hold("20260115T103000Z-bbbb", None, AT - 9 * HOUR, AT - HOUR, AT + HOUR, replace(ORDER, at=AT + HOUR / 2))


def test_holds_come_back_until_they_are_released(repository: Repository) -> None:
    """Oldest first; also one whose time is over, which counts no more."""
    put_hold(repository, "main", OF_RANGE)
    put_hold(repository, "main", OF_LABEL)

    assert read_holds(repository, "main") == (OF_LABEL, OF_RANGE)
    assert read_holds(repository, "other") == ()
    assert OF_RANGE.counts_at(AT)
    assert not OF_RANGE.counts_at(AT + HOUR)
    assert OF_LABEL.counts_at(AT + 9999 * HOUR)

    assert release_hold(repository, "main", OF_LABEL.id, Order(AT, "bob@db1", "over")) == OF_LABEL
    assert read_holds(repository, "main") == (OF_RANGE,)


def test_an_id_is_taken_once(repository: Repository) -> None:
    """Another hold under the same id is refused, so none is lost."""
    put_hold(repository, "main", OF_LABEL)

    with pytest.raises(ObjectExists):
        put_hold(repository, "main", replace(OF_RANGE, id=OF_LABEL.id))


def test_only_a_hold_that_stands_is_released(repository: Repository) -> None:
    """Never set, or released before: said."""
    put_hold(repository, "main", OF_LABEL)
    release_hold(repository, "main", OF_LABEL.id, ORDER)

    with pytest.raises(Refused, match="released before"):
        release_hold(repository, "main", OF_LABEL.id, ORDER)
    with pytest.raises(ObjectMissing, match="no hold"):
        release_hold(repository, "main", OF_RANGE.id, ORDER)


@pytest.mark.parametrize(
    "changes",
    [
        {"label": None},
        {"starts_at": AT, "ends_at": AT + HOUR},
        {"label": None, "starts_at": AT},
        {"label": None, "starts_at": AT, "ends_at": AT},
        {"until": AT},
    ],
)
def test_a_hold_of_nothing_is_refused(changes: dict[str, Any]) -> None:
    """Of one backup or of a range of time; never of both, of neither, or over already."""
    with pytest.raises(UsageError):
        replace(OF_LABEL, **changes)


@pytest.mark.parametrize("changes", [{"id": "another"}, {"label": None}, {"until": "soon"}, {"why": None}])
def test_a_malformed_hold_is_an_error(repository: Repository, changes: dict[str, object]) -> None:
    """Whoever removes something must have read every hold."""
    document = {"hold": 1, "id": OF_LABEL.id, "label": LABEL, "from": None, "to": None, "until": None}
    document |= {"why": "", "by": "x", "at": "2026-01-15T10:30:00+00:00"} | changes
    put_json(repository, layout.hold("main", OF_LABEL.id, 0), Kind.HOLD, document=document)

    with pytest.raises(ObjectCorrupt):
        read_holds(repository, "main")


def test_a_hold_that_is_gone_is_an_error(repository: Repository, store: MemoryStore) -> None:
    """Its bytes damaged: nothing may be removed before somebody looked."""
    put_hold(repository, "main", OF_LABEL)
    path = layout.hold("main", OF_LABEL.id, 0)
    store.objects[path] = store.objects[path][:-1]

    with pytest.raises(PgvaultError):
        read_holds(repository, "main")
