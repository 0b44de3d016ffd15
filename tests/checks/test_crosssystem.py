from __future__ import annotations

import csv
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from pgvault.checks.measure import run_check
from pgvault.checks.query import NOW, Moment
from pgvault.checks.result import CheckResult, Verdict
from pgvault.config import ClusterConfig
from tests.servers import NEWEST, Server, ServerFactory

pytestmark = pytest.mark.cluster

AT = datetime(2026, 1, 1, 12, tzinfo=UTC)
PAYMENTS = "SELECT order_id AS id, amount, at FROM payments"


@pytest.fixture(scope="module")
def server(templates: Path) -> Iterator[Server]:
    """A server with two systems as databases: orders in one, payments in the other."""
    if not NEWEST:
        pytest.skip("no PostgreSQL is installed")
    factory = ServerFactory(templates)
    try:
        one = factory(NEWEST)
        one.sql("CREATE DATABASE ledger")
        yield one
    finally:
        factory.clear()


@pytest.fixture
def rows(server: Server) -> None:
    """Both right: 100 orders, 100 payments, keys whose order by number, by bytes and by language differ."""
    server.sql(
        "DROP TABLE IF EXISTS orders; CREATE TABLE orders (id text, amount numeric(10,2), at timestamptz);"
        "INSERT INTO orders SELECT (ARRAY['é', '-', 'a', '.', 'B', 'ö', 'Z', ' ', '🐘'])[1 + i % 9] || i, i,"
        f" '{AT}'::timestamptz - i * interval '1 minute' FROM generate_series(1, 100) i"
    )
    values = ", ".join(str(tuple(map(str, row))) for row in server.sql("SELECT id, amount, at FROM orders"))
    server.sql(
        "DROP TABLE IF EXISTS payments; CREATE TABLE payments (order_id text, amount numeric, at timestamptz);"
        f"INSERT INTO payments VALUES {values}",
        database="ledger",
    )


def look(server: Server, moment: Moment = NOW, **how: Any) -> CheckResult:
    """Run the check, with changes."""
    check = {
        "name": "paid",
        "type": "cross_system",
        "left": {"query": "SELECT id, amount, at FROM orders"},
        "right": {"dsn": server.dsn_of("postgres", "ledger"), "query": PAYMENTS},
        "key": "id",
        "columns": ["amount"],
        **how,
    }
    (one,) = ClusterConfig.model_validate({"dsn": "", "checks": [check]}).checks
    return run_check(server.dsn, one, database="postgres", moment=moment)


def change(server: Server, text: str) -> None:
    """Change the other system."""
    server.sql(text, database="ledger")


def write_csv(server: Server, path: Path, *, at: str = "at") -> Path:
    """Write the payments as another system would: its own order, its own way to write numbers and times."""
    rows = server.sql(f"SELECT order_id, trim_scale(amount), {at} FROM payments ORDER BY amount", database="ledger")
    with path.open("w", newline="") as file:
        writer = csv.writer(file, delimiter=";")
        writer.writerows([["order", "amount", "at"], *rows])
    return path


def test_two_systems_that_agree(server: Server, rows: None) -> None:
    """Whatever language the keys are sorted in, and however the numbers are written."""
    result = look(server)

    assert (result.passed, result.measured) == (True, 0)
    assert result.detail == "left 100 rows, right 100; 100 agree"
    assert result.tables == ("public.orders",)


def test_a_time_is_a_key_in_whatever_zone(server: Server, rows: None) -> None:
    """One server's sessions are in Tokyo."""
    server.sql("ALTER DATABASE ledger SET TimeZone = 'Asia/Tokyo'")
    try:
        result = look(server, key="at", columns=["amount"])
    finally:
        server.sql("ALTER DATABASE ledger RESET TimeZone")

    assert result.passed, result.detail


def test_each_disagreement_is_told_by_its_key(server: Server, rows: None) -> None:
    """Missing, extra, different, twice, without a key; values only where the check shows all."""
    change(server, "DELETE FROM payments WHERE amount = 7")
    change(server, "INSERT INTO payments VALUES ('new', 5, now()), (NULL, 6, now())")
    change(server, "UPDATE payments SET amount = 8.01 WHERE amount = 8")
    change(server, "INSERT INTO payments SELECT * FROM payments WHERE amount = 9")

    result, shown = look(server), look(server, show="all")

    assert (result.passed, result.measured) == (False, 6)
    told = "97 agree; 1 missing; 1 extra; 1 different; 1 repeated; 1 without key; sum of amount 5050.00 against 5063.01"
    assert result.detail == f"left 100 rows, right 102; {told}"
    keys = ("missing id= 7", "extra id=new", "different id=🐘8: amount", "repeated id=é9", "without key on the right")
    assert result.sample == keys
    assert shown.sample[2] == "different id=🐘8: amount 8.00 against 8.01"


def test_only_the_first_keys_are_listed(server: Server, rows: None) -> None:
    """All are counted."""
    change(server, "DELETE FROM payments WHERE amount > 50; UPDATE payments SET amount = amount + 1 WHERE amount > 10")

    result = look(server)

    assert result.measured == 50 + 40 + 1
    assert len(result.sample) == 20 + 20


@pytest.mark.parametrize(
    ("wrong", "how", "measured"),
    [
        ("DELETE FROM payments WHERE amount < 3", {"compare": "count", "key": None}, 2),
        ("DELETE FROM payments WHERE amount < 3", {"compare": "count", "key": None, "threshold": 2}, 2),
        ("DELETE FROM payments WHERE amount < 3", {"compare": "rows"}, 2),
        ("DELETE FROM payments WHERE amount < 3", {"compare": "sum", "key": None}, 1),
        ("DELETE FROM payments WHERE amount = 1", {"compare": "sum", "key": None, "columns": {"amount": 1}}, 0),
        ("UPDATE payments SET amount = amount + 0.01", {"columns": {"amount": 0.01}}, 1),
        ("UPDATE payments SET amount = amount + 0.01", {"columns": {"amount": 0.01}, "compare": "rows"}, 0),
        ("UPDATE payments SET amount = amount * 1.01", {"columns": {"amount": "1%"}}, 0),
        ("UPDATE payments SET amount = amount * 1.02", {"columns": {"amount": "1%"}}, 101),
        ("UPDATE payments SET amount = 'NaN' WHERE amount = 5", {"columns": {"amount": "100%"}}, 2),
        ("UPDATE payments SET amount = NULL WHERE amount = 5", {"columns": {"amount": 100}, "compare": "rows"}, 1),
    ],
)
def test_counts_sums_and_rows_have_their_tolerance(
    server: Server, rows: None, wrong: str, how: dict[str, Any], measured: int
) -> None:
    """The measure is how many disagree; NULL and what is no number are near to nothing."""
    change(server, wrong)

    result = look(server, **how)

    assert result.measured == measured, result.detail
    assert result.passed is (measured <= how.get("threshold", 0))


def test_rows_in_flight_are_left_out_on_both_sides(server: Server, rows: None) -> None:
    """An order of just now, paid in a moment; and one of before, paid just now."""
    server.sql("INSERT INTO orders VALUES ('young', 1, now())")
    change(
        server,
        "UPDATE payments SET at = now(), amount = 0 WHERE amount = 3; INSERT INTO payments VALUES ('z', 9, now())",
    )

    assert look(server).measured == 4
    result = look(server, time="at", cutoff="5m")

    assert (result.passed, result.detail) == (
        True,
        "left 99 rows, right 99; 99 agree; 2 and 2 younger than the cut-off",
    )


def test_a_drill_of_an_older_moment_leaves_out_what_came_since(server: Server, rows: None) -> None:
    """Without a time it proves nothing; with a time it finds what was lost, and nothing else."""
    then = AT - timedelta(minutes=50)
    server.sql("DELETE FROM orders WHERE at > '2026-01-01 11:10+00'")

    unproven = look(server, Moment(then, is_restored=True))
    passed = look(server, Moment(then, is_restored=True), time="at")
    server.sql("DELETE FROM orders WHERE amount = 60")
    failed = look(server, Moment(then, is_restored=True), time="at")
    unknown = look(server, Moment(None, is_restored=True), time="at")

    assert (unproven.verdict, unproven.detail[:12]) == (Verdict.UNPROVEN, "not proven: ")
    assert passed.detail == "left 51 rows, right 51; 51 agree; 0 and 49 younger than the cut-off"
    assert passed.passed
    assert (failed.verdict, failed.sample) == (Verdict.FAILED, ("extra id=Z60",))
    assert unknown.verdict is Verdict.UNPROVEN


def test_a_recent_drill_needs_no_time(server: Server, rows: None) -> None:
    """What the wall clock stands for, the other system stands for."""
    assert look(server, Moment(datetime.now(UTC), is_restored=True)).passed


def test_both_sides_may_be_this_cluster(server: Server, rows: None) -> None:
    """Then they are of one moment, whenever that is; but not by the wall clock."""
    same = {"query": "SELECT * FROM orders WHERE at < :as_of"}
    clock = {"query": "SELECT * FROM orders WHERE at < now()"}
    past = Moment(AT, is_restored=True)

    assert look(server, past, right=same, left=same, columns=None).passed
    assert look(server, past, right=clock, left=same).verdict is Verdict.UNPROVEN


def test_a_file_is_a_side(server: Server, rows: None, tmp_path: Path) -> None:
    """In its own order, with its own names, numbers and times."""
    side = {"csv": str(write_csv(server, tmp_path / "p.csv")), "delimiter": ";", "rename": {"order": "id"}}
    change(server, "DELETE FROM payments WHERE amount = 7; UPDATE payments SET amount = 0 WHERE amount = 8")
    less = {**side, "csv": str(write_csv(server, tmp_path / "less.csv"))}

    assert look(server, right=side, columns=["amount", "at"]).passed
    assert look(server, right=less).sample == ("missing id= 7", "different id=🐘8: amount")
    assert look(server, right=less, compare="count", key=None).measured == 1
    assert look(server, Moment(AT - timedelta(minutes=90), is_restored=True), right=side, time="at").measured == 0


@pytest.mark.parametrize(
    ("how", "verdict", "said"),
    [
        (
            {"right": {"dsn": "host=/nowhere dbname=x", "query": "SELECT"}},
            Verdict.UNPROVEN,
            "right side can not be rea",
        ),
        ({"right": {"csv": "/nowhere/x.csv"}}, Verdict.UNPROVEN, "'/nowhere/x.csv' can not be read"),
        ({"left": {"query": "SELECT * FROM orders WHERE false"}}, Verdict.FAILED, "no rows to check on the left side"),
        ({"left": {"query": "SELECT * FROM gone"}}, Verdict.FAILED, 'relation "gone" does not exist'),
        ({"left": {"query": "SELECT 1; SELECT 2"}}, Verdict.FAILED, "2 statements"),
        ({"left": {"query": "DELETE FROM orders RETURNING *"}}, Verdict.FAILED, "the query failed"),
        ({"left": {"query": "SELECT 1 AS id, 2 AS id"}}, Verdict.FAILED, "has column 'id' twice"),
        ({"columns": ["total"]}, Verdict.FAILED, "the left side has no column 'total'"),
        ({"compare": "sum", "key": None, "columns": ["id"]}, Verdict.FAILED, "no column that both sides have is a num"),
        (
            {"columns": None, "left": {"query": "SELECT id, amount AS total FROM orders"}},
            Verdict.FAILED,
            "no column besid",
        ),
        ({"columns": [], "compare": ["rows"]}, Verdict.PASSED, "100 agree in their keys alone"),
        ({"columns": [], "compare": ["rows", "sum"]}, Verdict.FAILED, "no column that both sides have is a number"),
        ({"time": "at", "cutoff": "9999d"}, Verdict.UNPROVEN, "every row is younger than the cut-off"),
    ],
)
def test_what_can_not_be_compared_is_no_pass(
    server: Server, rows: None, how: dict[str, Any], verdict: Verdict, said: str
) -> None:
    """It says why, and allow_empty helps where nothing was to be expected."""
    result = look(server, **how)

    assert (result.verdict, said in result.detail) == (verdict, True), result.detail


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no header"),
        ("id,amount\n", "no rows to check on the right side"),
        ("id,amount\n1,2,3\n", "record 2 of the right side's file has 3 fields, not 2"),
        ("id,id,amount\n1,2,3\n", "column 'id' twice"),
        ('id,amount\n"1,2\n', "is not CSV"),
        ("id,amount\n\xff,2\n", "is not CSV in utf-8-sig"),
        ("id,amount,at\n1,2,yesterday\n", "record 2 of the right side's file has no time"),
    ],
)
def test_a_file_that_is_cut_or_torn_is_no_pass(
    server: Server, rows: None, tmp_path: Path, text: str, said: str
) -> None:
    """Half a file has no differences in its other half."""
    path = tmp_path / "p.csv"
    path.write_bytes(text.encode("latin-1"))

    result = look(server, right={"csv": str(path)}, time="at" if "at" in text else None, threshold=1e9)

    assert (result.verdict, said in result.detail) == (Verdict.FAILED, True), result.detail


def test_a_password_comes_from_its_file_and_is_told_to_nobody(server: Server, rows: None, tmp_path: Path) -> None:
    """Neither when it is right nor when there is none."""
    secret = tmp_path / "password"
    secret.write_text("geheim\n")
    right = {"dsn": server.dsn_of("postgres", "ledger"), "query": PAYMENTS, "password": f"file:{secret}"}

    passed = look(server, right=right)
    failed = look(server, right={**right, "dsn": "host=/nowhere"})
    secret.unlink()
    missing = look(server, right=right)

    assert passed.passed
    assert missing.verdict is Verdict.UNPROVEN
    assert "can not be read" in missing.detail
    assert "geheim" not in f"{passed} {failed} {missing}"
