"""One table from one database into another of the same server: what is made there, and what never is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from pgvault.errors import ObjectMissing, PgvaultError, Refused, ServerUnfit, UsageError
from pgvault.extract.load import Loaded, load
from pgvault.extract.names import Name, Session, default_name, find_source, read_name
from pgvault.extract.twin import Twin, make_twin
from pgvault.logical.target import Target
from tests.servers import NEWEST, Server, ServerFactory

pytestmark = [pytest.mark.cluster, pytest.mark.endurance]

SHOP = """
CREATE TYPE state AS ENUM ('new', 'done');
CREATE TABLE customers (id int PRIMARY KEY);
INSERT INTO customers SELECT generate_series(1, 10);
CREATE TABLE orders (
    id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    customer_id int NOT NULL REFERENCES customers,
    state state NOT NULL DEFAULT 'new',
    total numeric(10,2) CHECK (total > 0),
    twice numeric GENERATED ALWAYS AS (total * 2) STORED,
    at timestamptz DEFAULT now(),
    "Odd name" text
);
COMMENT ON TABLE orders IS E'SET x = y;\\n\\\\restrict no';
CREATE INDEX ON orders (customer_id);
CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'never here'; END $$;
INSERT INTO orders (customer_id, total, "Odd name")
SELECT 1 + g % 10, g, E'\\\\N\\t' || g FROM generate_series(1, 500) g;
CREATE TRIGGER never BEFORE INSERT ON orders FOR EACH ROW EXECUTE FUNCTION refuse();
ALTER TABLE orders ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON orders USING (customer_id = 1);
CREATE TABLE numbered (id serial PRIMARY KEY, note text);
INSERT INTO numbered (note) VALUES ('a'), ('b');
CREATE TABLE days (day date NOT NULL, n int) PARTITION BY RANGE (day);
CREATE TABLE days_1 PARTITION OF days FOR VALUES FROM ('2025-01-01') TO ('2025-02-01');
CREATE TABLE days_2 PARTITION OF days FOR VALUES FROM ('2025-02-01') TO ('2025-03-01');
INSERT INTO days SELECT date '2025-01-01' + g, g FROM generate_series(0, 50) g;
CREATE VIEW seen AS SELECT 1 AS one;
CREATE SCHEMA "Odd";
CREATE TABLE "Odd"."Ta""ble" (a int);
INSERT INTO "Odd"."Ta""ble" VALUES (1);
CREATE TABLE empty (a int);
"""


@pytest.fixture(scope="module")
def server(templates: Path) -> Iterator[Server]:
    factory = ServerFactory(templates)
    try:
        one = factory(NEWEST)
        one.sql("CREATE DATABASE scratch")
        one.sql(SHOP, database="scratch")
        yield one
    finally:
        factory.clear()


@pytest.fixture
def extracting(server: Server) -> Iterator[Extracting]:
    """Two databases: where the table was, and where it goes, which has nothing but the type."""
    server.sql("CREATE DATABASE mine TEMPLATE scratch")
    server.sql("CREATE DATABASE target")
    server.sql("CREATE TYPE state AS ENUM ('new', 'done')", database="target")
    one = Target(server.dsn)
    scratch, target = one.fingerprinting("mine"), one.fingerprinting("target")
    scratch.execute("SET default_transaction_read_only = off")
    try:
        yield Extracting(server, scratch, target)
    finally:
        scratch.close()
        target.close()
        for name in ("mine", "target"):
            server.sql(f"DROP DATABASE {name} WITH (FORCE)")


class Extracting:
    """Sessions with both, and what is done in them."""

    def __init__(self, server: Server, scratch: Session, target: Session) -> None:
        self.server, self.scratch, self.target = server, scratch, target

    def twin(self, table: str, name: str | None = None) -> tuple[Loaded, Twin]:
        source = find_source(self.scratch, table)
        wanted = default_name(source.name) if name is None else read_name(self.scratch, name, schema="public")
        dsn = self.server.dsn_of("postgres", "mine")
        twin = make_twin(self.scratch, self.server.instance, dsn, source=source, name=wanted)
        return load(self.scratch, self.target, twin), twin

    def value(self, query: str) -> object:
        return self.server.value(query, database="target")


def test_a_table_with_all_that_belongs_to_it(extracting: Extracting) -> None:
    """Rows, types, checks, keys, indexes, generated columns, identity and comments; and none of what reaches out."""
    loaded, twin = extracting.twin("orders")

    assert (str(loaded.name), loaded.rows, loaded.why) == ("public.orders_restored", 500, None)
    assert loaded.fingerprint is not None
    assert extracting.value('SELECT "Odd name" FROM orders_restored WHERE id = 7') == "\\N\t7"
    assert extracting.value("SELECT sum(twice) FROM orders_restored") == 250500
    assert extracting.value("SELECT obj_description('orders_restored'::regclass)") == "SET x = y;\n\\restrict no"
    kinds = extracting.value(
        "SELECT string_agg(contype::text, '' ORDER BY contype::text) FROM pg_constraint"
        " WHERE conrelid = 'orders_restored'::regclass AND contype <> 'n'"
    )
    assert kinds == "cp"
    assert extracting.value("SELECT count(*) FROM pg_index WHERE indrelid = 'orders_restored'::regclass") == 2
    extracting.server.sql("INSERT INTO orders_restored (customer_id, total) VALUES (1, 1)", database="target")
    assert extracting.value("SELECT max(id) FROM orders_restored") == 501
    assert sorted(twin.notes) == [
        "left out: 1 foreign keys",
        "left out: 1 row security policies",
        "left out: 1 triggers",
    ]


def test_a_default_that_takes_from_a_sequence_is_left_out(extracting: Extracting) -> None:
    """The existing table may still count with it."""
    loaded, twin = extracting.twin("public.numbered", "other")

    assert loaded.rows == 2
    assert extracting.value("SELECT count(*) FROM pg_class WHERE relkind = 'S'") == 0
    assert [note for note in twin.notes if "column 'id' has no default" in note]


def test_partitions_come_as_one_table(extracting: Extracting) -> None:
    """The rows of all of them, compared as such."""
    loaded, twin = extracting.twin("days")

    assert (loaded.rows, loaded.fingerprint is not None) == (51, True)
    assert extracting.value("SELECT relkind FROM pg_class WHERE relname = 'days_restored'") == "r"
    assert "2 partitions or heirs" in twin.notes[0]


def test_odd_names_and_empty_tables(extracting: Extracting) -> None:
    """Names are read as SQL reads them. No row is a result, too: it is told."""
    extracting.server.sql('CREATE SCHEMA "Odd"', database="target")
    loaded, _ = extracting.twin('"Odd"."Ta""ble"')
    nothing, _ = extracting.twin("empty")

    assert loaded.name == Name("Odd", 'Ta"ble_restored')
    assert (loaded.rows, nothing.rows) == (1, 0)


def test_a_dropped_table_comes_back_under_its_own_name(extracting: Extracting) -> None:
    """Where nothing has that name in the target; in the scratch it makes way."""
    loaded, _ = extracting.twin("orders", "orders")

    assert str(loaded.name) == "public.orders"
    assert extracting.value("SELECT count(*) FROM orders") == 500


def test_what_exists_is_left_alone(extracting: Extracting) -> None:
    """Whatever it is: a table, a view, an index."""
    extracting.server.sql("CREATE TABLE here (a int); CREATE INDEX orders_restored ON here (a)", database="target")

    with pytest.raises(Refused, match=r"'public\.orders_restored' exists in the target, and is left alone"):
        extracting.twin("orders")
    with pytest.raises(Refused, match=r"'public\.here' exists"):
        extracting.twin("orders", "here")
    assert extracting.value("SELECT count(*) FROM pg_class WHERE relname LIKE 'orders%'") == 1


def test_nothing_is_there_when_it_does_not_work_out(extracting: Extracting) -> None:
    """A type that the target lacks; an index that can not be made once all rows are in."""
    extracting.server.sql("DROP TYPE state", database="target")
    with pytest.raises(ServerUnfit, match=r'type "public\.state" does not exist'):
        extracting.twin("orders")
    extracting.server.sql("CREATE TABLE x (a int); CREATE INDEX numbered_restored_pkey ON x (a)", database="target")
    with pytest.raises(ServerUnfit, match='"numbered_restored_pkey" already exists'):
        extracting.twin("numbered")
    assert extracting.value("SELECT count(*) FROM pg_class WHERE relname LIKE '%_restored'") == 0


def test_default_privileges_give_nothing_away(extracting: Extracting) -> None:
    """Rows that row security hid are nobody's but the loader's."""
    extracting.server.sql("ALTER DEFAULT PRIVILEGES GRANT SELECT ON TABLES TO PUBLIC", database="target")

    extracting.twin("orders")

    assert extracting.value("SELECT relacl::text FROM pg_class WHERE relname = 'orders_restored'") in {
        None,
        "{postgres=arwdDxtm/postgres}",
    }


@pytest.mark.parametrize(
    ("given", "error", "why"),
    [
        ("nothing", ObjectMissing, r"there is no table 'public\.nothing' at that moment"),
        ("a.b.c", UsageError, "is no name of a table"),
        ('"', UsageError, "is no name of a table"),
        ("seen", UsageError, "is no table whose rows can be extracted"),
    ],
)
def test_names_of_nothing(extracting: Extracting, given: str, error: type[PgvaultError], why: str) -> None:
    """Said before anything is done."""
    with pytest.raises(error, match=why):
        find_source(extracting.scratch, given)
