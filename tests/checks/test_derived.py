from __future__ import annotations

import time

import psycopg
import pytest

from pgvault.checks.constraints import Constraints, Kind, Rule, Table
from pgvault.checks.derived import TOLD_EACH, Findings, Outcome, derive, judge
from pgvault.checks.result import SAMPLE_ROWS, CheckResult, NotTested, Origin, Verdict
from tests.servers import MAJORS, NEWEST, Server, ServerFactory

ORDERS = Table(1, "public", "orders", False, False, None, False, False, ("id",))
EMPTY = Table(2, "public", "empty", False, False, None, False, False, ())
NOTHING = Constraints({1: ORDERS, 2: EMPTY}, (), (), (), ())


def rule(name: str, table: Table = ORDERS, *, is_validated: bool = True) -> Rule:
    return Rule(Kind.CHECK, table, name, "false", None, is_validated)


def told(*outcomes: Outcome) -> tuple[list[CheckResult], list[str]]:
    """What is said of these outcomes: results, and what is not tested."""
    findings = Findings(rows={1: 40, 2: 0})
    findings.add(outcomes)
    found = list(judge("shop", NOTHING, findings))
    return (
        [each for each in found if isinstance(each, CheckResult)],
        [each.what for each in found if isinstance(each, NotTested)],
    )


def test_all_that_hold_are_one_result() -> None:
    """With their number and the rows they were asked of; a table counts once, an empty one is named."""
    (result,), not_tested = told(Outcome(rule("a")), Outcome(rule("b")), Outcome(rule("c", EMPTY)))

    assert result.passed
    assert result.origin is Origin.DERIVED
    assert result.detail == "3 check constraints hold, 40 rows; 1 of them on empty tables"
    assert len(not_tested) == 3
    assert "foreign keys in database 'shop': there are none" in not_tested


def test_what_holds_over_no_rows_is_not_proven() -> None:
    """Nothing was looked at."""
    (result,), _ = told(Outcome(rule("c", EMPTY)))

    assert result.verdict is Verdict.UNPROVEN


def test_what_is_broken_is_a_result_each() -> None:
    """With its rows; what is NOT VALID stops nothing, what was not answered is no failure."""
    broken = Outcome(rule("bad"), 3, "rows that break it: 3", ("id = 1",))
    old = Outcome(rule("old", is_validated=False), 1, "…")
    unknown = Outcome(rule("slow"), None, "not proven: …", is_answered=False)

    results, _ = told(Outcome(rule("good")), broken, old, unknown)

    named = {each.name: each for each in results}
    assert named["check_constraint:shop:public.orders.bad"].sample == ("id = 1",)
    assert named["check_constraint:shop:public.orders.bad"].is_blocking
    assert named["check_constraint:shop:public.orders.old"].severity == "warning"
    assert named["check_constraint:shop:public.orders.slow"].verdict is Verdict.UNPROVEN
    assert named["check_constraints:shop"].detail == "1 of 4 check constraints hold, 40 rows"


def test_thousands_of_broken_ones_are_told_together() -> None:
    """A report can be read."""
    outcomes = [Outcome(rule(f"r{number}"), 1, "…") for number in range(TOLD_EACH + 200)]

    results, _ = told(*outcomes)

    assert len(results) == TOLD_EACH + 1
    assert results[-1].measured == 200
    assert results[-1].failed
    assert results[-1].is_blocking


SCHEMA = """
CREATE SCHEMA "Odd ""one"" s";
CREATE TABLE customers (id bigint PRIMARY KEY, email text NOT NULL UNIQUE, code text);
CREATE UNIQUE INDEX customers_lower ON customers (lower(email)) WHERE code IS NULL;
CREATE UNIQUE INDEX customers_code ON customers (code) NULLS NOT DISTINCT WHERE code <> 'x' OR code IS NULL;
CREATE TABLE "Odd ""one"" s"."O'rders" ("I d" bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    customer bigint CONSTRAINT "fk '1" REFERENCES customers DEFERRABLE INITIALLY DEFERRED,
    total numeric CONSTRAINT "total ok" CHECK (total > 0));
CREATE TABLE pairs (a int, b int, PRIMARY KEY (a, b));
CREATE TABLE simple (id int PRIMARY KEY, a int, b int, FOREIGN KEY (a, b) REFERENCES pairs);
CREATE TABLE fully (id int PRIMARY KEY, a int, b int, FOREIGN KEY (a, b) REFERENCES pairs MATCH FULL);
CREATE TABLE tree (id int PRIMARY KEY, parent int REFERENCES tree);
CREATE TABLE loose (id int, customer bigint);
ALTER TABLE loose ADD CONSTRAINT loose_fk FOREIGN KEY (customer) REFERENCES customers NOT VALID;
CREATE TABLE base (id int CHECK (id > 0), only_here int, CONSTRAINT own CHECK (only_here > 0) NO INHERIT);
CREATE TABLE heir (CHECK (id < 100)) INHERITS (base);
CREATE TABLE days (at date NOT NULL, n int, PRIMARY KEY (at, n), CHECK (n > 0)) PARTITION BY RANGE (at);
CREATE TABLE days_1 PARTITION OF days FOR VALUES FROM ('2026-01-01') TO ('2026-02-01');
CREATE TABLE days_2 PARTITION OF days FOR VALUES FROM ('2026-02-01') TO ('2026-03-01');
CREATE TABLE notes (id int PRIMARY KEY, at date, n int, FOREIGN KEY (at, n) REFERENCES days);
CREATE DOMAIN positive AS int CHECK (VALUE > 0);
CREATE DOMAIN small AS positive NOT NULL;
ALTER DOMAIN small ADD CONSTRAINT small_check CHECK (VALUE < 10);
CREATE TABLE typed (id int PRIMARY KEY, s small, p positive, several positive[]);
CREATE FUNCTION is_known(c bigint) RETURNS bool LANGUAGE sql STABLE
    AS 'SELECT EXISTS (SELECT FROM customers WHERE id = c)';
CREATE TABLE called (id int PRIMARY KEY, c bigint CHECK (is_known(c)));
CREATE TABLE slots (during int4range, EXCLUDE USING gist (during WITH &&));
INSERT INTO customers SELECT i, 'c' || i || '@x', i FROM generate_series(1, 10) i;
INSERT INTO "Odd ""one"" s"."O'rders" (customer, total) SELECT i, i FROM generate_series(1, 10) i;
INSERT INTO pairs SELECT 1, i FROM generate_series(1, 5) i;
INSERT INTO simple VALUES (1, 1, 1), (2, NULL, 99), (3, NULL, NULL);
INSERT INTO fully VALUES (1, 1, 1), (2, NULL, NULL);
INSERT INTO tree VALUES (1, NULL), (2, 1);
INSERT INTO loose VALUES (1, 1);
INSERT INTO base VALUES (1, 1);
INSERT INTO heir VALUES (1, -5);
INSERT INTO days VALUES ('2026-01-05', 1), ('2026-02-05', 1);
INSERT INTO notes VALUES (1, '2026-01-05', 1);
INSERT INTO typed VALUES (1, 5, NULL), (2, 6, 7);
INSERT INTO called VALUES (1, 1);
INSERT INTO slots VALUES ('[1,2)');
UPDATE pg_index SET indisready = false WHERE indexrelid = 'pairs_pkey'::regclass;
INSERT INTO pairs VALUES (2, 2);
UPDATE pg_index SET indisready = true WHERE indexrelid = 'pairs_pkey'::regclass;
SET session_replication_role = replica;
INSERT INTO simple VALUES (9, 2, 2)
"""
SCHEMA_18 = """
CREATE EXTENSION btree_gist;
CREATE TABLE stays (room int, during int4range, PRIMARY KEY (room, during WITHOUT OVERLAPS));
CREATE TABLE breaks (room int, at int4range, FOREIGN KEY (room, PERIOD at) REFERENCES stays (room, PERIOD during));
CREATE TABLE lax (id int, CONSTRAINT unenforced CHECK (id > 0) NOT ENFORCED);
INSERT INTO lax VALUES (-1), (NULL);
ALTER TABLE lax ADD CONSTRAINT late NOT NULL id NOT VALID
"""
# Each of these breaks one constraint behind the back of PostgreSQL.
HARM = """
INSERT INTO called VALUES (5, 10);
SET session_replication_role = replica;
INSERT INTO "Odd ""one"" s"."O'rders" (customer, total) SELECT 1000 + i, i FROM generate_series(1, 30) i;
INSERT INTO simple VALUES (4, 1, 77);
INSERT INTO fully VALUES (3, NULL, 1);
INSERT INTO tree VALUES (3, 9);
INSERT INTO loose VALUES (2, 99);
DELETE FROM days WHERE at = '2026-01-05';
DELETE FROM customers WHERE id = 10;
RESET session_replication_role;
UPDATE pg_index SET indisready = false WHERE indrelid = 'customers'::regclass;
INSERT INTO customers VALUES (1, 'C1@x', NULL), (2, 'c1@x', NULL), (3, 'c3@x', NULL);
UPDATE pg_index SET indisready = true WHERE indrelid = 'customers'::regclass;
UPDATE pg_attribute SET attnotnull = false WHERE attrelid = 'customers'::regclass AND attname = 'email';
INSERT INTO customers VALUES (20, NULL, 20);
UPDATE pg_attribute SET attnotnull = true WHERE attrelid = 'customers'::regclass AND attname = 'email';
ALTER TABLE "Odd ""one"" s"."O'rders" DROP CONSTRAINT "total ok";
INSERT INTO "Odd ""one"" s"."O'rders" (customer, total) VALUES (1, -1);
ALTER TABLE "Odd ""one"" s"."O'rders" ADD CONSTRAINT "total ok" CHECK (total > 0) NOT VALID;
ALTER DOMAIN small DROP CONSTRAINT small_check;
INSERT INTO typed VALUES (3, 100, 5);
ALTER DOMAIN small ADD CONSTRAINT small_check CHECK (VALUE < 10) NOT VALID;
UPDATE pg_constraint SET convalidated = true WHERE conname IN ('small_check', 'total ok');
ALTER TABLE days DETACH PARTITION days_2;
INSERT INTO days_2 VALUES ('2026-01-20', 5);
ALTER TABLE days_2 ADD CONSTRAINT sure CHECK (at IS NOT NULL AND at >= '2026-02-01' AND at < '2026-03-01') NOT VALID;
UPDATE pg_constraint SET convalidated = true WHERE conname = 'sure';
ALTER TABLE days ATTACH PARTITION days_2 FOR VALUES FROM ('2026-02-01') TO ('2026-03-01');
ALTER TABLE days_2 DROP CONSTRAINT sure
"""
BROKEN = {
    'check_constraint:postgres:Odd "one" s.O\'rders.total ok': ("I d = 41",),
    "check_constraint:postgres:public.called.called_c_check": ("id = 5",),
    "check_constraint:postgres:public.typed.s small_check of domain public.small": ("id = 3",),
    "check_constraint:postgres:public.days_2.its partition bound": ("at = 2026-01-20, n = 5",),
    "unique_key:postgres:public.customers.customers_code": ("id = 1 and 2 more",),
    "unique_key:postgres:public.customers.customers_email_key": ("id = 1 and 1 more", "id = 3 and 1 more"),
    "unique_key:postgres:public.customers.customers_lower": ("id = 1 and 1 more",),
    "unique_key:postgres:public.customers.customers_pkey": (
        "id = 1 and 1 more",
        "id = 2 and 1 more",
        "id = 3 and 1 more",
    ),
    "foreign_key:postgres:public.simple.simple_a_b_fkey": ("id = 4",),
    "foreign_key:postgres:public.fully.fully_a_b_fkey": ("id = 3",),
    "foreign_key:postgres:public.tree.tree_parent_fkey": ("id = 3",),
    "foreign_key:postgres:public.loose.loose_fk": ("row at (0,2)",),
    "foreign_key:postgres:public.notes.notes_at_n_fkey": ("id = 1",),
}


def run_each(server: Server, statements: str) -> None:
    """Run them in one session, each in a transaction of its own."""
    with psycopg.connect(server.dsn, autocommit=True) as connection:
        for statement in statements.split(";\n"):
            connection.execute(statement.encode())


def asked(server: Server) -> tuple[dict[str, CheckResult], list[str]]:
    """All constraints of the database, and what is not tested."""
    found = list(derive(server.dsn, "postgres", jobs=2, deadline=time.monotonic() + 600))
    return (
        {each.name: each for each in found if isinstance(each, CheckResult)},
        [each.what for each in found if isinstance(each, NotTested)],
    )


@pytest.mark.cluster
@pytest.mark.endurance
@pytest.mark.parametrize("major", [each for each in MAJORS if each in (15, NEWEST)])
def test_every_kind_is_seen_green_and_red(server: ServerFactory, major: int) -> None:
    """What triggers and indexes let through is found row by row; an index that lacks a row misleads nobody."""
    shop = server(major)
    run_each(shop, SCHEMA + (f";{SCHEMA_18}" if major >= 18 else ""))

    whole, not_tested = asked(shop)
    run_each(shop, HARM)
    harmed, _ = asked(shop)

    assert {name: each.passed for name, each in whole.items() if ":public" not in name} == {
        "not_null:postgres": True,
        "check_constraints:postgres": True,
        "unique:postgres": True,
        "foreign_keys:postgres": True,
    }
    assert whole["foreign_keys:postgres"].detail.startswith("6 foreign keys hold")
    assert any("slots_during_excl" in each for each in not_tested)
    assert any("typed several: a domain inside of an array" in each for each in not_tested)
    broken = {name: each for name, each in harmed.items() if each.failed and "lax" not in name}
    email = "customers_email_not_null" if major >= 18 else "email not null"
    orders = broken.pop("foreign_key:postgres:Odd \"one\" s.O'rders.fk '1")
    assert (orders.measured, len(orders.sample)) == (31, SAMPLE_ROWS)
    assert orders.tables == ('Odd "one" s.O\'rders', "public.customers")
    assert {name: each.sample for name, each in broken.items()} == BROKEN | {
        f"not_null:postgres:public.customers.{email}": ("id = 20",)
    }
    assert {name for name, each in broken.items() if not each.is_blocking} == {
        "foreign_key:postgres:public.loose.loose_fk"  # it is NOT VALID
    }
    if major >= 18:
        assert any("lax unenforced: NOT ENFORCED" in each for each in not_tested)
        assert any("stays stays_pkey" in each for each in not_tested)
        assert any("breaks breaks_room_at_fkey" in each for each in not_tested)
        assert whole["not_null:postgres:public.lax.late"].severity == "warning"


@pytest.mark.cluster
@pytest.mark.endurance
def test_time_that_is_over_is_no_pass(server: ServerFactory) -> None:
    """What was not answered is not proven; a check that raises is a finding."""
    shop = server(NEWEST)
    run_each(shop, "CREATE TABLE t (id int PRIMARY KEY CHECK (10 / id > 0)); INSERT INTO t VALUES (1), (2)")
    in_time, _ = asked(shop)
    found = list(derive(shop.dsn, "postgres", jobs=1, deadline=time.monotonic() - 1))
    run_each(
        shop,
        "ALTER TABLE t DROP CONSTRAINT t_id_check;\nINSERT INTO t VALUES (0);\n"
        "ALTER TABLE t ADD CHECK (10 / id > 0) NOT VALID;\nUPDATE pg_constraint SET convalidated = true",
    )
    raised, _ = asked(shop)

    assert all(each.passed for each in in_time.values())
    assert not any(isinstance(each, CheckResult) and each.passed for each in found)
    failing = raised["check_constraint:postgres:public.t.t_id_check"]
    assert failing.failed
    assert failing.detail == "it could not be asked: division by zero"
    assert raised["not_null:postgres"].passed
