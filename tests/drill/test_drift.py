from __future__ import annotations

from dataclasses import replace

import pytest

from pgvault.checks.result import CheckResult, NotTested, Verdict
from pgvault.drill.drift import (
    SIZE_SLACK,
    Compared,
    Loss,
    Since,
    compare_extensions,
    compare_relations,
    compare_roles,
    judge,
    judge_host,
    judge_size,
    should_have_rows,
)
from pgvault.postgres.lsn import Lsn
from tests.repository.entries import EXTENSION, RELATION, ROLE, SERVER

TABLE = replace(RELATION, name="orders", is_settled=True)
LOST = Compared(7, [Loss("'a' is not there", is_settled=True), Loss("'b' is not there", is_settled=False)])


def judged(compared: Compared, *, is_certain: bool) -> CheckResult:
    result = judge("roles", "roles", compared, is_certain=is_certain, seconds=0)
    assert isinstance(result, CheckResult)
    return result


@pytest.mark.parametrize(
    ("reached", "next_xid", "since"),
    [
        (SERVER.lsn, 7, Since(is_idle=False, is_within=True)),
        (Lsn(SERVER.lsn.value + 1), 7, Since(is_idle=False, is_within=False)),
        (Lsn(SERVER.lsn.value + 1), SERVER.next_xid, Since(is_idle=True, is_within=True)),
        (None, SERVER.next_xid - 1, Since(is_idle=False, is_within=False)),
    ],
)
def test_what_can_have_changed_since(reached: Lsn | None, next_xid: int, since: Since) -> None:
    """Nothing settled up to the inventory's own position; nothing at all while no transaction ends."""
    assert Since.of(SERVER, reached, next_xid) == since


def test_what_is_as_it_was_passes() -> None:
    """With how much was looked at."""
    assert judged(Compared(7, []), is_certain=False).detail == "7 roles are as at the backup"


def test_nothing_is_no_pass() -> None:
    """A backup without any is told as not tested."""
    assert isinstance(judge("roles", "roles", Compared(0, []), is_certain=True, seconds=0), NotTested)


def test_what_must_be_there_and_is_not_fails() -> None:
    """Only what is settled counts: the other one may have been made after the stop."""
    result = judged(LOST, is_certain=True)

    assert result.failed
    assert result.is_blocking
    assert result.detail == "1 of 7 roles are not as at the backup: 'a' is not there"


def test_what_wal_may_have_taken_away_is_not_proven() -> None:
    """A replayed DROP, or a loss: nobody can tell, and it is no pass."""
    result = judged(LOST, is_certain=False)

    assert result.verdict is Verdict.UNPROVEN
    assert "'a' is not there; 'b' is not there" in result.detail


def test_roles_are_compared_by_what_they_may_do() -> None:
    """Attributes, memberships, the limit of connections."""
    changed = replace(ROLE, attributes=("login", "superuser"), member_of=(), connection_limit=3)

    assert compare_roles([ROLE], [ROLE]) == Compared(1, [])
    assert compare_roles([ROLE], []).losses == [Loss("'app – Käse' is not there", is_settled=True)]
    (loss,) = compare_roles([ROLE], [changed]).losses
    assert loss.what == (
        "'app – Käse' has other attributes (not inherit, superuser) and has other memberships (not pg_monitor)"
        " and has the connection limit 3, not -1"
    )


def test_extensions_are_compared_by_version() -> None:
    """Another version is no loss of the extension, and told as what it is."""
    (loss,) = compare_extensions("shop", [EXTENSION], [replace(EXTENSION, version="1.4")]).losses

    assert compare_extensions("shop", [EXTENSION], [replace(EXTENSION, is_settled=False)]).losses == []
    assert loss.what == "'pgcrypto' is there as 1.4, not 1.3, in 'shop'"
    (gone,) = compare_extensions("shop", [EXTENSION], []).losses
    assert gone.what == "'pgcrypto' is not there, in 'shop'"


def test_relations_are_found_by_oid() -> None:
    """One that was renamed or moved is there; of those that are not, tables are named first."""
    index = replace(TABLE, oid=2, kind="i", name="orders_pkey")
    renamed = replace(TABLE, schema="archive", name="old")

    assert compare_relations("shop", [TABLE], {TABLE.oid: renamed}).losses == []
    assert compare_relations("shop", [index, TABLE], {}).losses == [
        Loss("public.orders, in 'shop'", is_settled=True),
        Loss("public.orders_pkey, in 'shop'", is_settled=True),
    ]


@pytest.mark.parametrize(
    ("changes", "is_asked"),
    [
        ({"rows": 5000.0, "live": 5000}, True),
        ({"rows": None, "live": 5000}, True),  # never analysed
        ({"rows": 5000.0, "live": 0}, False),  # emptied since it was, or its statistics were lost
        ({"rows": 12.0, "live": 5000}, False),
        ({"rows": 5000.0, "live": 5000, "is_logged": False}, False),
        ({"rows": 5000.0, "live": 5000, "kind": "i"}, False),
    ],
)
def test_only_tables_that_surely_had_rows_are_asked_for_one(changes: dict[str, object], is_asked: bool) -> None:
    """By both estimates, and not those that a restore empties."""
    table = replace(TABLE, **changes)  # type: ignore[arg-type]

    assert should_have_rows(table, {TABLE.oid: TABLE}) is is_asked
    assert not should_have_rows(table, {})


def test_sizes_that_are_off_by_a_factor_are_told() -> None:
    """Not those of small clusters, where WAL of a minute doubles what there is."""
    big = 10 * SIZE_SLACK

    assert judge_size(big, big, is_idle=True, seconds=0).passed
    assert judge_size(1 << 20, SIZE_SLACK, is_idle=True, seconds=0).passed
    assert judge_size(big, big // 3, is_idle=True, seconds=0).failed
    assert not judge_size(big, big // 3, is_idle=True, seconds=0).is_blocking
    assert judge_size(big, 3 * big, is_idle=False, seconds=0).verdict is Verdict.UNPROVEN


def test_another_host_is_told_and_blocks_nothing() -> None:
    """Machine, minor version, libc, ICU."""
    here = replace(SERVER, version="PostgreSQL 18.7 on aarch64-unknown-linux-gnu", libc="2.41")

    result = judge_host(SERVER, here, seconds=0)

    assert judge_host(SERVER, SERVER, seconds=0).passed
    assert result.failed
    assert not result.is_blocking
    assert "PostgreSQL 18.6 there, 18.7 here" in result.detail
    assert "machine x86_64 there, aarch64 here" in result.detail
    assert "libc collations 2.36 there, 2.41 here" in result.detail
